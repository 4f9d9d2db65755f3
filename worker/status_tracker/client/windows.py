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
    """Return members after a position, at most so many, and the rank of the first of them.

    None means that there are no more.
    """
    first, back = rank, 1
    while True:
        stop = first + count
        command = ("ZRANGE", key, first, stop, *(("REV",) if newest else ()), "WITHSCORES")
        window = list(_members((yield from asked(command, within))))
        if last is None:
            return window[:count], 0
        if first > 0 and (not window or _is_after(window[0], last, newest=newest)):
            # Others left before it: look further to the front.
            first, back = max(0, first - back), back * 4
            continue
        after = [place for place, each in enumerate(window) if _is_after(each, last, newest=newest)]
        if after:
            return window[after[0] :][:count], first + after[0]
        if len(window) <= count:
            return [], first + len(window)
        first = stop  # the last one that was seen, so that the next window begins with it


def _is_after(member: Member, last: Member, *, newest: bool) -> bool:
    return member < last if newest else member > last


def _members(reply: Any) -> Iterator[Member]:
    """Read ``[member, score, …]``, or the newer protocol's ``[[member, score], …]``."""
    if reply and isinstance(reply[0], bytes):
        reply = zip(reply[::2], reply[1::2], strict=True)
    for name, score in reply:
        yield float(score), name
