"""The two shells: the same methods, with and without await."""

import asyncio
import inspect
from typing import Any

import pytest
from status_tracker import (
    AsyncEmitter,
    AsyncStatusReader,
    AsyncTaskReporter,
    ConfigError,
    Emitter,
    StatusReader,
    TaskReporter,
)
from status_tracker.client.async_shell import AsyncShell
from status_tracker.client.operations import Tries

TWINS: list[tuple[type, type]] = [
    (Emitter, AsyncEmitter),
    (StatusReader, AsyncStatusReader),
    (TaskReporter, AsyncTaskReporter),
]
RENAMED = {"__aenter__": "__enter__", "__aexit__": "__exit__"}

PLAIN = [
    ("AsyncTaskReporter", "TaskReporter"),
    ("AsyncIterator", "Iterator"),
    (
        "AsyncGenerator[status_tracker.client.watching.FeedEvent, None]",
        "Generator[status_tracker.client.watching.FeedEvent, None, None]",
    ),
    ("collections.abc.", ""),
    ("Iterable[~T] | AsyncIterable[~T]", "Iterable[~T]"),
]
"""What asyncio has of its own → what it is called without."""


def methods(kind: type) -> dict[str, str]:
    """Return the signature of each method that users call, in the words of the blocking shell."""
    found = {}
    for name, method in vars(kind).items():
        own = RENAMED.get(name, name)
        is_public = own in RENAMED.values() or not own.startswith("_")
        if inspect.isfunction(method) and is_public:
            signature = str(inspect.signature(method))
            for special, plain in PLAIN:
                signature = signature.replace(special, plain)
            found[own] = signature
    return found


@pytest.mark.parametrize(("plain", "awaited"), TWINS, ids=lambda kind: kind.__name__)
def test_both_shells_have_the_same_methods(plain: type, awaited: type) -> None:
    """With the same names, parameters, defaults and results."""
    assert methods(plain) == methods(awaited)


@pytest.mark.parametrize(("plain", "awaited"), TWINS[:2], ids=lambda kind: kind.__name__)
def test_both_shells_are_made_alike(plain: type, awaited: type) -> None:
    """Only the source differs: each takes the clients of its own kind."""
    ours, theirs = ([*inspect.signature(kind).parameters.values()] for kind in (plain, awaited))
    assert ours[0].name == theirs[0].name == "source"
    assert ours[1:] == theirs[1:]


@pytest.mark.parametrize("awaited", [twins[1] for twins in TWINS])
def test_what_asks_the_server_is_awaited(awaited: type) -> None:
    """Or iterated; only a reporter is made without."""
    for name, method in vars(awaited).items():
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        is_async = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
        assert is_async == (name != "report"), name


@pytest.mark.parametrize("kind", [Emitter, StatusReader, AsyncEmitter, AsyncStatusReader])
def test_what_is_no_server_is_refused(kind: Any) -> None:
    """At once, and in one line."""
    with pytest.raises(ConfigError, match="redis_url: not a URL"):
        kind("localhost:6379")
    with pytest.raises(TypeError, match="give a URL, settings, a redis"):
        kind(object())


def test_tries_end_in_time() -> None:
    """At once at first, then after longer and longer pauses, of a second at most."""
    now = 0.0
    tries = Tries(10.0, clock=lambda: now)
    pauses = [tries.again(ConnectionError()).seconds for _ in range(12)]
    assert pauses[0] == 0
    assert pauses[1] <= 0.02
    assert 0.5 <= pauses[-1] <= 1.0


async def test_a_tail_that_was_closed_is_not_followed() -> None:
    """A feed ends even where Python 3.11 swallows the cancellation of its task."""
    shell = AsyncShell("redis://127.0.0.1:1")
    tail = shell.tail()
    tail.close()
    with pytest.raises(asyncio.CancelledError):
        await tail.follow({"status:changes": "0-0"})
