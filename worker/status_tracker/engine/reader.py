"""Reading one partition's stream: how much at once, ahead of the folding, cut after a failure."""

import asyncio
import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol, cast

from status_tracker.cancellation import cancelled, started
from status_tracker.decode import Entry, Removing, Value, find_all, size_of
from status_tracker.engine.limits import Limits
from status_tracker.models import Rejection

BLOCK = 500
"""Milliseconds that a read waits for entries. Each time nothing came, the partition's keys are
checked: much longer, and a flushed database is noticed late; much shorter, and an idle partition is
a load."""

MOST_COUNT = 2000
"""Entries asked for at most; a batch may be several reads. With a quarter of it, commands cost more
than they bring; with twice as many, nothing is gained."""

FIRST_COUNT = 10
"""Entries asked for before anything is known of their size: they may have 10 MB each."""

LINGER = 0.05
"""Seconds that a batch waits for more entries of a backlog: on a slow link they take long, or fail
to come, and what came before them must not wait for that."""

CUT_AFTER_FAILURE = 100
"""Entries that are read by a script that cuts them, once a read has failed: one that is too large
to come in time is only going to be rejected, and need not come whole."""


FOLDED_AT_ONCE = 512 * 1024
"""Bytes of entries that are folded before others have their turn: leases must be renewed, and an
answer taken in, however large the entries are and however long each takes to judge."""


class Stream(Protocol):
    """What of the server's half is needed to read; `store.py` says what each method does."""

    async def read(self, cursor: str, *, count: int, block: int | None) -> list[Entry]:
        """Read entries after the cursor."""

    async def read_cut(self, cursor: str, *, count: int, size: int) -> list[Entry]:
        """Read entries without what is too large in them."""


class Read(NamedTuple):
    """What one read brought."""

    entries: list[Entry]
    values: Sequence[Value]
    size: int
    """Bytes of the entries."""
    removes: bool
    """Whether any of them takes entities away."""
    more: bool
    """Whether as many came as were asked for, so that there are likely more."""


class Piece(NamedTuple):
    """What of a read is folded in one go: updates, or the value of an entry that takes away."""

    entries: Sequence[Entry]
    values: Sequence[bytes | Rejection] = ()
    removing: bytes | None = None


def pieces(read: Read) -> Iterator[Piece]:
    """Yield what was read in pieces of about `FOLDED_AT_ONCE` bytes; mostly it is one.

    An entry that takes entities away is a piece of its own.
    """
    values = cast("Sequence[bytes | Rejection]", read.values)
    if read.size <= FOLDED_AT_ONCE and not read.removes:
        yield Piece(read.entries, values)
        return
    begin = size = 0
    for end, entry in enumerate(read.entries, start=1):
        value = read.values[end - 1]
        size += size_of(entry)
        removing = value.data if isinstance(value, Removing) else None
        if removing is not None:
            if end - 1 > begin:
                yield Piece(read.entries[begin : end - 1], values[begin : end - 1])
            yield Piece([entry], removing=removing)
        elif size >= FOLDED_AT_ONCE or end == len(read.entries):
            yield Piece(read.entries[begin:end], values[begin:end])
        else:
            continue
        begin, size = end, 0


class Reader:
    """Reads a stream as fast as its entries can be folded, and no larger pieces than fit."""

    def __init__(self, stream: Stream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self.count: int = min(FIRST_COUNT, limits.entries)
        """Entries that the next read asks for."""
        # Seconds that the last read took.
        self._took = 0.0
        # How many more entries are read by the script that cuts them.
        self._cut = 0
        self._interrupted = False
        # The task that waits for entries.
        self._waiting: asyncio.Task[Any] | None = None
        # The read that is on its way while other entries are folded.
        self._ahead: asyncio.Task[list[Entry]] | None = None

    @property
    def is_ahead(self) -> bool:
        """Whether a read is on its way, or has come, that nobody waits for yet."""
        return self._ahead is not None

    def interrupt(self) -> None:
        """Let a read that waits bring nothing."""
        if self._waiting is not None:
            self._interrupted = True
            self._waiting.cancel()
            self._waiting = None

    async def next(self, cursor: str) -> Read:
        """Return what comes next; nothing when nothing comes, or when it is interrupted."""
        task = self._waiting = asyncio.current_task()
        try:
            entries = await (self._ahead or self._read(cursor, BLOCK))
        except asyncio.CancelledError:
            # One cancellation is `interrupt`'s; another one would be of the partition itself.
            if not self._interrupted or task is None or task.uncancel():
                raise
            return Read([], [], 0, removes=False, more=False)
        finally:
            self._ahead = self._waiting = None
            self._interrupted = False
        return self._fitted(entries)

    async def is_late(self) -> bool:
        """Tell whether what is read ahead does not come soon, as the last read did not."""
        if self._ahead is None or self._took < LINGER:
            return False
        _, late = await asyncio.wait([self._ahead], timeout=LINGER)
        return bool(late)

    def read_ahead(self, cursor: str, block: int | None) -> None:
        """Begin to read what comes after a cursor, for the next call of `next`."""
        self._ahead = started(self._read(cursor, block), "read ahead")

    def failed(self) -> None:
        """Ask for little: perhaps the reply was too large to arrive in time."""
        self.count = 1
        self._cut = CUT_AFTER_FAILURE

    async def drop(self) -> None:
        """Forget what is on its way."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            await cancelled([ahead])

    async def _read(self, cursor: str, block: int | None) -> list[Entry]:
        began = time.monotonic()
        entries: list[Entry] = []
        if self._cut > 0:
            entries = await self._stream.read_cut(cursor, count=self.count, size=self._limits.size)
            self._cut -= len(entries)
        if not entries:
            entries = await self._stream.read(cursor, count=self.count, block=block)
        self._took = time.monotonic() - began
        self._limits.read_took(self._took)
        return entries

    def _fitted(self, entries: list[Entry]) -> Read:
        """Cut off the entries that are too many, and fit the next read's count to what came."""
        values, size, removes = find_all(entries)
        most = self._limits.size
        more = len(entries) == self.count
        # A full read raises the count; large entries lower it to as many as fit.
        fitting = most * len(entries) // max(size, 1) if entries else MOST_COUNT
        wanted = self.count * 4 if more else self.count
        self.count = max(1, min(wanted, fitting, self._limits.entries, MOST_COUNT))
        if size > most:
            ends = list(accumulate(map(size_of, entries)))
            entries = entries[: max(bisect(ends, most), 1)]
            values, size, removes = find_all(entries)
        return Read(entries, values, size, removes, more)
