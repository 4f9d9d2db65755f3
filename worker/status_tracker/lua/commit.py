"""Write everything that one batch does, or nothing at all. What is said and answered is pure."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec
from msgspec import Struct

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script
from status_tracker.text import decoded

_script = Script("commit")
_encode = msgspec.msgpack.Encoder().encode


class CursorMovedError(Exception):
    """The partition's cursor is not the one the batch was read from; nothing was written."""

    def __init__(self, cursor: str) -> None:
        super().__init__(cursor)
        self.cursor = cursor
        """Where it is instead; "" where that is not what is wrong."""


class StatusChangedError(Exception):
    """A status key does not hold what the batch was folded from; nothing was written."""

    def __init__(self, key: str, *, was_known: bool) -> None:
        super().__init__(key)
        self.was_known = was_known
        """Whether the batch was folded from a status, and not from none."""


class PhaseMoves(Struct):
    """What a batch does to the set of ids in one phase."""

    phase: str
    counts: int
    """Which of the hashes of counts has the size of the set, from 1."""
    entered: list[str] = []
    """``[score, id, score, id, …]``; scores as text, which Lua would make of numbers slowly."""
    left: list[str] = []


class Step(Struct):
    """What a batch does to the hash of one partition."""

    read_from: str
    cursor: str
    revision: str
    totals: list[str | int]
    """``entries`` and its number come first."""


class Payload(Struct):
    """The batch as `commit.lua` takes it; the fields are explained there.

    Documents are text, for the server's msgpack knows strings but no binary.
    """

    partitions: list[Step]
    counts: int
    documents: list[str]
    expected: list[str]
    phases: list[PhaseMoves]
    marks: list[list[str]]
    changes: list[str]
    removes: bool
    histories: list[list[int]]
    history: int
    rejected: list[dict[str, str]]
    forwards: list[list[str]]
    max_changes: int
    max_rejected: int


class Call(NamedTuple):
    """KEYS and ARGV of one commit."""

    keys: list[str]
    args: list[str | bytes]


def call(
    *,
    changes: str,
    rejected: str,
    partitions: Iterable[tuple[str, str]],
    counts: Sequence[str],
    statuses: Sequence[str],
    phases: Sequence[str],
    marks: Sequence[str],
    histories: Sequence[str],
    forwards: Sequence[str],
    group: str,
    payload: Payload,
    raw: Sequence[bytes],
) -> Call:
    """Return what the script is called with.

    `partitions` are each one's hash and stream, `raw` the bytes of what is not applied here.
    """
    keys = [changes, rejected, *chain.from_iterable(partitions), *counts]
    keys += [*statuses, *phases, *marks, *histories, *forwards]
    return Call(keys, [group, _encode(payload), *raw])


async def commit(client: Client, call: Call) -> int:
    """Commit; return how many rejected entries `max_rejected` pushed out.

    Raises `CursorMovedError` or `StatusChangedError` where nothing was written because of that.
    """
    outcome, value, *expected = await _script.run(client, call.keys, call.args)
    if outcome == b"changed":
        raise StatusChangedError(decoded(value), was_known=expected != [b""])
    if outcome == b"moved":
        raise CursorMovedError(decoded(value))
    return int(value)
