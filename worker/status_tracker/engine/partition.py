"""One partition's loop: read → decode → load → fold → commit."""

import asyncio
import logging
from bisect import bisect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any, Protocol

from msgspec import Struct

from status_tracker.cancellation import cancelled
from status_tracker.connection.client import UNAVAILABLE
from status_tracker.decode import Entry, find_all, size_of
from status_tracker.engine.backoff import Backoff
from status_tracker.engine.batch import Batch, BatchBuilder, Wanted
from status_tracker.engine.statuses import Statuses
from status_tracker.lua.attach import Attached
from status_tracker.lua.commit import CursorMovedError, StatusChangedError
from status_tracker.models import Kind, Rejection

log = logging.getLogger(__name__)

BLOCK = 500
"""Milliseconds that a read waits for entries. Each time nothing came, the partition's keys are
checked: much longer, and a flushed database is noticed late; much shorter, and an idle
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


class PartitionKeyspace(Protocol):
    """The server's half of a partition; `store.py` says what each method does."""

    async def attach(self) -> Attached:
        """Find the cursor."""

    async def read(self, cursor: str, *, count: int, block: int | None) -> list[Entry]:
        """Read entries after the cursor."""

    async def load(self, wanted: Wanted) -> Mapping[Kind, Statuses]:
        """Load statuses."""

    async def commit(self, batch: Batch) -> int:
        """Write a batch."""


class Partition:
    """The loop over one partition's stream."""

    def __init__(
        self,
        number: int,
        store: PartitionKeyspace,
        builder: BatchBuilder,
        check_deployment: Callable[[], Awaitable[object]],
        totals: Totals,
        *,
        backoff: Backoff,
        batch_entries: int,
        batch_bytes: int,
    ) -> None:
        self._name = f"partition {number}"
        self._store = store
        self._builder = builder
        self._check_deployment = check_deployment
        self._totals = totals
        self._backoff = backoff
        self._batch_entries = batch_entries
        self._batch_bytes = batch_bytes
        self._count = min(FIRST_COUNT, batch_entries)
        # Bytes of the entries of the current batch.
        self._size = 0
        # Our own task, while it waits for entries.
        self._waiting: asyncio.Task[Any] | None = None
        # What comes after the current batch.
        self._reading: asyncio.Task[list[Entry]] | None = None
        # The batch before the current one.
        self._committing: asyncio.Task[Batch] | None = None
        self._stop = asyncio.Event()
        self._attached_before = False
        self._said_moved = False

    def stop(self) -> None:
        """Let `run` return when the current batch is committed; at once where there is none."""
        self._stop.set()
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    async def run(self) -> None:
        """Go on until `stop`.

        What an operator can mend is waited out. A deployment that has become another one, which
        `check_deployment` raises, and bugs pass through.
        """
        try:
            await self._run()
        finally:
            self._backoff.forget(self._name)

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                await self._attach()
                while not self._stop.is_set():
                    await self._turn()
                await self._commit(wait=True)
            except StatusChangedError as error:
                self._builder.suspend_optimistic_creates()
                if error.was_known:
                    log.warning(
                        "%s: %s was changed by someone else; reading it again", self._name, error
                    )
            except CursorMovedError as error:
                self._say_moved(error.cursor)
            except UNAVAILABLE as error:
                # Perhaps the reply was too large to arrive in time; it grows again from there.
                self._count = 1
                await self._backoff.wait(self._name, error, self._stop)
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
        full = self._builder.batch.entries + len(entries) + self._count > self._batch_entries
        if backlog:
            # The server reads on while this is folded. The current batch must not wait for what
            # is still to be written.
            self._read_after(entries[-1][0].decode(), BLOCK if full else None)
            await asyncio.sleep(0)  # else it is sent after the folding
        await self._fold(entries, values)
        if full or not backlog:
            await self._commit(wait=not backlog)

    async def _fold(self, entries: list[Entry], values: Sequence[bytes | Rejection]) -> None:
        folding = self._builder.fold(entries, values)
        with suppress(StopIteration):
            wanted = next(folding)
            while True:
                wanted = folding.send(await self._store.load(wanted))

    async def _pause(self) -> None:
        """Commit the current batch where nothing follows it; where nothing is, check the keys."""
        idle = not self._builder.batch.entries
        await self._commit(wait=True)
        if idle and not self._stop.is_set():
            await self._check_keys()
            self._backoff.succeeded(self._name)

    async def _commit(self, *, wait: bool) -> None:
        """Commit the current batch, once the one before it is; wait for it, or read on meanwhile.

        Under a backlog neither the worker nor the server then waits for the other.
        """
        await self._committed()
        if not self._builder.batch.entries:
            return
        self._size = 0
        commit = self._write(self._builder.close())
        if wait:
            self._builder.committed(await commit)
        else:
            self._committing = asyncio.create_task(commit, name=f"{self._name}: commit")
            await asyncio.sleep(0)  # else it is sent after the next folding

    async def _committed(self) -> None:
        """Wait for the commit that is on its way; raises what `Store.commit` raises."""
        if self._committing is not None:
            self._builder.committed(await self._committing)
            self._committing = None

    async def _write(self, batch: Batch) -> Batch:
        dropped = await self._store.commit(batch)
        self._totals.read += batch.entries
        self._totals.duplicates += batch.duplicates
        self._totals.forwarded += sum(map(len, batch.forwards.values()))
        self._totals.rejected += len(batch.rejected)
        self._backoff.succeeded(self._name)
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
                self._builder.batch.cursor, count=self._count, block=BLOCK
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

    def _bounded(
        self, entries: list[Entry]
    ) -> tuple[list[Entry], Sequence[bytes | Rejection], int]:
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
        await self._check_deployment()
        self._adopt(await self._store.attach())

    async def _check_keys(self) -> None:
        """Notice, while nothing comes, that the keys were flushed, restored or taken over."""
        attached = await self._store.attach()
        if attached.created or attached.cursor != self._builder.batch.cursor:
            await self._check_deployment()
            self._adopt(attached)

    def _adopt(self, attached: Attached) -> None:
        """Read on from where the keys say; what was kept in memory may not be true any more."""
        self._builder.restart(attached.cursor)
        self._size = 0
        if attached.created:
            names = ", ".join(attached.created)
            if self._attached_before:
                log.warning(
                    "%s: recreated %s, missing or replaced; reading on from %s",
                    self._name,
                    names,
                    attached.cursor,
                )
            else:
                log.info("%s: created %s; reading on from %s", self._name, names, attached.cursor)
        self._attached_before = True

    def _say_moved(self, cursor: str) -> None:
        """Say once that another worker commits here; `_adopt` will say that a hash is missing."""
        if cursor and not self._said_moved:
            self._said_moved = True
            log.warning("%s: another worker moved the cursor to %s", self._name, cursor)
