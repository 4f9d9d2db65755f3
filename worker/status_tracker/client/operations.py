"""What the logic asks of its shell: an operation is a generator that yields requests.

Whoever drives it sends it the answers; the result is what it returns. So each operation is written
once, needs no server to be tested, and knows nothing of asyncio or threads. `sync_shell.py` and
`async_shell.py` drive it.
"""

import random
import re
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from redis import exceptions

from status_tracker.connection.client import UNREACHABLE, Command
from status_tracker.errors import ConfigError, UnavailableError

T = TypeVar("T")

Operation = Generator[Any, Any, T]
"""It yields a `Request` and is sent the answer, or thrown the error."""


class Pause(Struct, frozen=True):
    """Wait for so many seconds; answered by None."""

    seconds: float


class Receive(Struct, frozen=True):
    """Wait for what is put into an inbox; answered by it, or by None where the time is up."""

    inbox: "Inbox"
    seconds: float | None


class Follow(Struct, frozen=True):
    """Wait until one of the streams has entries after an ID; answered by `Followed`.

    Answered by no streams where none had any for a while.
    """

    tail: "Tail"
    places: Mapping[str, str]
    """Stream → ID of the last entry that is known."""


Followed = Mapping[str, tuple[Any, Any]]
"""Stream → the replies to XREAD and, after it, to XINFO STREAM; either may be an error."""

Request = Command | list[Command] | Pause | Receive | Follow
"""A command is answered by its reply, and its error is thrown. A list of commands goes in one
pipeline, and is answered by their replies, with errors in the place of replies: never thrown."""


class Inbox(Protocol):
    """Where a background operation puts what others wait for."""

    def put_nowait(self, item: Any, /) -> None:
        """Put something in; any thread may."""


class Tail(Protocol):
    """A connection that waits at the end of a stream; of several, one for each."""

    def close(self) -> None:
        """Close it, also while somebody waits."""


class Background(Protocol):
    """An operation that runs beside its caller."""

    def stop(self) -> None:
        """End it soon, wherever it waits."""


class Shell(Protocol):
    """What the logic has done that is no request to the server."""

    def spawn(self, operation: Operation[None], name: str) -> Background:
        """Run an operation in the background."""

    def inbox(self) -> Inbox:
        """Return a new inbox."""

    def tail(self) -> Tail:
        """Return a new tail."""


FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two tries, at first and at most."""

# The server answers, but cannot do it now: a failover or a start is under way.
_PASSING = re.compile(r"READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|UNBLOCKED|FAILOVER")
_PASSING_CLASSES = (
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.TryAgainError,
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,
)


def is_lost(error: object) -> bool:
    """Tell whether nobody knows if the server did what it was asked."""
    return isinstance(error, UNREACHABLE) and not is_passing(error)


def is_passing(error: object) -> bool:
    """Tell whether the server refused what it will do in a moment."""
    return isinstance(error, _PASSING_CLASSES) or (
        isinstance(error, exceptions.ResponseError) and bool(_PASSING.match(str(error)))
    )


class Tries:
    """When to try again: at once, then after longer and longer pauses, for so many seconds."""

    def __init__(self, within: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = clock() + within
        self._pause = 0.0

    def again(self, error: Exception) -> Pause:
        """Return the pause before the next try; raises where the time is up, or it is in vain."""
        if isinstance(error, exceptions.AuthenticationError):
            raise ConfigError(f"the server refuses user or password: {error}") from None
        if not (is_lost(error) or is_passing(error)) or self._clock() >= self._ends:
            raise UnavailableError(str(error)) from error
        pause, self._pause = self._pause, min(LONGEST_PAUSE, max(FIRST_PAUSE, 2 * self._pause))
        return Pause(pause * random.uniform(0.5, 1))


def asked(command: Command, within: float) -> Operation[Any]:
    """Ask until there is a reply, for so many seconds; raises `UnavailableError`, `ConfigError`."""
    [reply] = yield from asked_all([command], within)
    return reply


def asked_all(commands: list[Command], within: float) -> Operation[list[Any]]:
    """Ask until there is a reply to each command, for so many seconds: for commands that read.

    Raises `UnavailableError` where there is none, or where one is an error.
    """
    tries = Tries(within)
    replies: list[Any] = [None] * len(commands)
    left = list(range(len(commands)))
    while left:
        found = yield [commands[place] for place in left]
        for place, reply in zip(left, found, strict=True):
            replies[place] = reply
        left = [place for place in left if isinstance(replies[place], Exception)]
        if left:
            yield tries.again(_about(commands[left[0]], replies[left[0]]))
    return replies


def _about(command: Command, error: Exception) -> Exception:
    """Name the key in an error of the server about it."""
    if isinstance(error, exceptions.ResponseError) and not is_passing(error):
        what = (
            f"{command[0]!s} {command[1]!s}: {error}" if command[1:] else f"{command[0]!s}: {error}"
        )
        if isinstance(error, exceptions.NoPermissionError):
            return exceptions.NoPermissionError(what)
        return exceptions.ResponseError(what)
    return error


def pairs(reply: Any) -> dict[bytes, Any]:
    """Return a reply that is a map: the older protocol has it flat, the newer one as a map."""
    if isinstance(reply, Mapping):
        return dict(reply)
    return dict(zip(reply[::2], reply[1::2], strict=True))
