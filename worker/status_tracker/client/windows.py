"""Going through a sorted set page by page while it changes.

A position is the score and the name of the last member that was seen. Ranks shift when others come
and go, and many may have the same score. So a window of ranks is read, in one command. It counts if
it begins at or before the position: what stands in it after that is then all that comes next.
"""

import base64
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from status_tracker.client.operations import Operation, asked

Member = tuple[float, bytes]
"""Score and name: what a sorted set is sorted by."""

_encode = msgspec.msgpack.Encoder().encode


class Cursor(Struct, frozen=True, array_like=True):
    """Where a page ended."""

    last: Member
    ranks: list[int]
    """About where that is, in each set."""


_decode = msgspec.msgpack.Decoder(Cursor).decode


def cursor_text(cursor: Cursor) -> str:
    """Return a cursor as text."""
    return base64.urlsafe_b64encode(_encode(cursor)).decode().rstrip("=")


def cursor_in(text: str | None, sets: int) -> Cursor | None:
    """Return the cursor in a text; raises ValueError where it is none of so many sets."""
    if text is None:
        return None
    try:
        cursor = _decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, msgspec.MsgspecError):
        cursor = None
    if cursor is None or len(cursor.ranks) != sets:
        raise ValueError("after: it is no place in this list")
    return cursor


def next_members(
    key: str, last: Member | None, rank: int, count: int, *, newest: bool, within: float
) -> Operation[tuple[list[Member], int]]:
    """Return the members after a position, and the rank of the first of them.

    They are `count`, unless there are no more. `rank` says about where the position is.
    """
    found: list[Member] = []
    first, back = rank, 1
    while True:
        wanted = count - len(found)
        stop = first + wanted
        command = ("ZRANGE", key, first, stop, *(("REV",) if newest else ()), "WITHSCORES")
        window = list(_members((yield from asked(command, within))))
        if last is not None and first > 0 and (not window or _after([window[0]], last, newest)):
            # Others left before it: look further to the front.
            first, back = max(0, first - back), back * 4
            continue
        after = _after(window, last, newest)[:wanted]
        found += after
        if len(found) == count or len(window) <= wanted:
            return found, max(0, first + len(window) - len(found))
        # Others entered before it. The next window begins with what was seen last.
        last = after[-1] if after else last
        first = stop


def _after(window: list[Member], last: Member | None, newest: bool) -> list[Member]:
    """Return what stands after a position."""
    if last is None:
        return window
    return [each for each in window if (each < last if newest else each > last)]


def _members(reply: Any) -> Iterator[Member]:
    """Read ``[member, score, …]``, or the newer protocol's ``[[member, score], …]``."""
    if reply and isinstance(reply[0], bytes):
        reply = zip(reply[::2], reply[1::2], strict=True)
    for name, score in reply:
        yield float(score), name
