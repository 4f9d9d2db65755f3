"""One partition's loop: read → decode → load → fold → commit."""

import asyncio
import logging
from bisect import bisect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any

from msgspec import Struct

from status_tracker.connection.url import UNAVAILABLE
from status_tracker.decode import Entry, find_all, size_of
from status_tracker.engine.backoff import Outage
from status_tracker.engine.batch import Batch, Pipeline
from status_tracker.engine.store import Attached, CursorMovedError, StatusChangedError, Store
from status_tracker.models import Rejected

log = logging.getLogger(__name__)

BLOCK = 500
"""Milliseconds that a read waits for entries. Each time nothing came, the partition's keys are
looked over: much longer, and a flushed database is noticed late; much shorter, and an idle
partition is a load."""

MOST_COUNT = 2000
"""Entries asked for at most; a batch may be several reads. With a quarter of it, commands cost more
than they bring; with twice as many, nothing is gained."""

FIRST_COUNT = 10
"""Entries asked for before anything is known of their size: they may have 10 MB each."""


class Totals(Struct):
    """How many entries ended as what, of all partitions, since the worker started."""

    read: int = 0
    duplicates: int = 0
    forwarded: int = 0
    rejected: int = 0

    @property
    def applied(self) -> int:
        """All the others."""
        return self.read - self.duplicates - self.forwarded - self.rejected


class Partition:
    """The loop over one partition's stream."""

    def __init__(
        self,
        number: int,
        store: Store,
        pipeline: Pipeline,
        agree: Callable[[], Awaitable[object]],
        totals: Totals,
        *,
        outage: Outage,
        batch_entries: int,
        batch_bytes: int,
    ) -> None:
        self._name = f"partition {number}"
        self._store = store
        self._pipeline = pipeline
        self._agree = agree
        self._totals = totals
        self._outage = outage
        self._batch_entries = batch_entries
        self._batch_bytes = batch_bytes
        self._count = min(FIRST_COUNT, batch_entries)
        # Bytes of the entries of the batch in hand.
        self._size = 0
        # Our own task, while it waits for entries.
        self._waiting: asyncio.Task[Any] | None = None
        # What comes after the batch in hand.
        self._reading: asyncio.Task[list[Entry]] | None = None
        # The batch before the one in hand.
        self._committing: asyncio.Task[Batch] | None = None
        self._stop = asyncio.Event()
        self._attached_before = False
        self._said_moved = False

    def stop(self) -> None:
        """Let `run` return when the batch in hand is committed; at once where there is none."""
        self._stop.set()
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    async def run(self) -> None:
        """Go on until `stop`.

        What an operator can mend is waited out. A deployment that has become another one, which
        `agree` raises, and bugs pass through.
        """
        try:
            await self._run()
        finally:
            self._outage.forget(self._name)

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                await self._attach()
                while not self._stop.is_set():
                    await self._turn()
                await self._commit(wait=True)
            except StatusChangedError as error:
                self._pipeline.doubt()
                if error.was_known:
                    log.warning(
                        "%s: %s was changed by someone else; reading it anew", self._name, error
                    )
            except CursorMovedError as error:
                self._say_moved(error.cursor)
            except UNAVAILABLE as error:
                # Perhaps the reply was too large to arrive in time; it grows again from there.
                self._count = 1
                await self._outage.wait_out(self._name, error, self._stop)
            finally:
                await self._drop()

    async def _turn(self) -> None:
        """Read once; commit what came, unless a backlog fills the batch further."""
        entries = await self._next()
        if not entries:
            await self._pause()
            return
        backlog = len(entries) == self._count
        entries, values, size = self._bounded(entries)
        if self._size + size > self._batch_bytes:
            await self._commit(wait=False)
        self._size += size
        full = self._pipeline.in_hand.entries + len(entries) + self._count > self._batch_entries
        if backlog:
            # The server reads on while this is folded. What is in hand must not wait for what
            # is still to be written.
            self._read_after(entries[-1][0].decode(), BLOCK if full else None)
            await asyncio.sleep(0)  # else it is sent after the folding
        self._pipeline.decode(entries, values)
        while unknown := self._pipeline.fold():
            self._pipeline.learn(await self._store.load(unknown))
        if full or not backlog:
            await self._commit(wait=not backlog)

    async def _pause(self) -> None:
        """Commit what is in hand where nothing follows it; where nothing is, look over the keys."""
        idle = not self._pipeline.in_hand.entries
        await self._commit(wait=True)
        if idle and not self._stop.is_set():
            await self._look_over()
            self._outage.over(self._name)

    async def _commit(self, *, wait: bool) -> None:
        """Commit the batch in hand, once the one before it is; wait for it, or read on meanwhile.

        Under a backlog neither the worker nor the server then waits for the other.
        """
        await self._committed()
        if not self._pipeline.in_hand.entries:
            return
        self._size = 0
        commit = self._write(self._pipeline.close())
        if wait:
            self._pipeline.settle(await commit)
        else:
            self._committing = asyncio.create_task(commit, name=f"{self._name}: commit")
            await asyncio.sleep(0)  # else it is sent after the next folding

    async def _committed(self) -> None:
        """Wait for the commit that is on its way; raises what `Store.commit` raises."""
        if self._committing is not None:
            self._pipeline.settle(await self._committing)
            self._committing = None

    async def _write(self, batch: Batch) -> Batch:
        dropped = await self._store.commit(batch)
        self._totals.read += batch.entries
        self._totals.duplicates += batch.duplicates
        self._totals.forwarded += sum(map(len, batch.forwards.values()))
        self._totals.rejected += len(batch.rejected)
        self._outage.over(self._name)
        if dropped:
            log.warning(
                "%s: max_rejected is reached: the %d oldest rejected entries are gone",
                self._name,
                dropped,
            )
        return batch

    async def _next(self) -> list[Entry]:
        """Return what comes next; nothing when nothing comes, or when a stop cuts it off."""
        task = self._waiting = asyncio.current_task()
        try:
            if self._reading is not None:
                return await self._reading
            return await self._store.read(
                self._pipeline.in_hand.cursor, count=self._count, block=BLOCK
            )
        except asyncio.CancelledError:
            # One cancellation is the stop's; another one would be of the partition itself.
            if not self._stop.is_set() or task is None or task.uncancel():
                raise
            return []
        finally:
            self._reading = self._waiting = None

    def _read_after(self, cursor: str, block: int | None) -> None:
        self._reading = asyncio.create_task(
            self._store.read(cursor, count=self._count, block=block), name=f"{self._name}: read"
        )

    async def _drop(self) -> None:
        """Forget what is on its way: it follows a batch that may not have been committed."""
        pending = [task for task in (self._reading, self._committing) if task is not None]
        self._reading = self._committing = None
        if pending:
            await cancelled(pending)

    def _bounded(self, entries: list[Entry]) -> tuple[list[Entry], Sequence[bytes | Rejected], int]:
        """Cut entries at the limit of bytes, and fit the next read's count to what came.

        Returns what is left of them, their values of `data`, and their size.
        """
        values, size = find_all(entries)
        # A full read raises the count; large entries lower it to as many as fit.
        fitting = self._batch_bytes * len(entries) // max(size, 1)
        wanted = self._count * 4 if len(entries) == self._count else self._count
        self._count = max(1, min(wanted, fitting, self._batch_entries, MOST_COUNT))
        if size > self._batch_bytes:
            ends = list(accumulate(map(size_of, entries)))
            entries = entries[: max(bisect(ends, self._batch_bytes), 1)]
            values, size = find_all(entries)
        return entries, values, size

    async def _attach(self) -> None:
        """Find where to read on, on a server that may be another one than before."""
        await self._agree()
        self._adopt(await self._store.attach())

    async def _look_over(self) -> None:
        """Notice, while nothing comes, that the keys were flushed, restored or taken over."""
        attached = await self._store.attach()
        if attached.made or attached.cursor != self._pipeline.in_hand.cursor:
            await self._agree()
            self._adopt(attached)

    def _adopt(self, attached: Attached) -> None:
        """Read on from where the keys say; what was kept in memory may not be true any more."""
        self._pipeline.start(attached.cursor)
        self._size = 0
        if attached.made:
            level = logging.WARNING if self._attached_before else logging.INFO
            log.log(
                level,
                "%s: %s: made anew: %s; reading on from %s",
                self._name,
                "vanished or replaced" if self._attached_before else "not there yet",
                ", ".join(attached.made),
                attached.cursor,
            )
        self._attached_before = True

    def _say_moved(self, cursor: str) -> None:
        """Say once that another worker commits here; that a hash vanished, `_adopt` will say."""
        if cursor and not self._said_moved:
            self._said_moved = True
            log.warning("%s: another worker moved the cursor to %s", self._name, cursor)


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended; what they raise is theirs to tell.

    Once is not enough: redis-py sends in `asyncio.wait_for`, which in Python 3.11 swallows a
    cancellation that arrives in the moment in which the sending ends.
    """
    tasks = pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.05)
    await asyncio.gather(*tasks, return_exceptions=True)  # or asyncio logs what nobody looked at
