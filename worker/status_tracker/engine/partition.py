"""One partition's own loop: read → decode → load → fold → commit, whatever comes and goes wrong.

Where there is nothing special about a partition, it takes the common way (`common.py`), and is back
here as soon as there is.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

from status_tracker.cancellation import cancelled, started
from status_tracker.connection.client import UNAVAILABLE
from status_tracker.engine.backoff import Backoff
from status_tracker.engine.batch import Batch, BatchBuilder, Wanted
from status_tracker.engine.common import Common, Member, RefusedTogetherError
from status_tracker.engine.folding import folded
from status_tracker.engine.heard import Heard
from status_tracker.engine.limits import Limits
from status_tracker.engine.partition_log import PartitionLog
from status_tracker.engine.reader import BLOCK, Read, Reader, Stream, pieces
from status_tracker.engine.statuses import StatusCache, Statuses
from status_tracker.engine.tally import Tally
from status_tracker.lua.attach import Attached
from status_tracker.lua.commit import CursorMovedError, StatusChangedError
from status_tracker.metadata import Deployment

THOROUGH_EVERY = 60.0
"""Seconds between two looks at the last ID of a stream with nothing to read: it takes the server a
copy of two entries, which may be large."""

MOST_AHEAD = 3_600_000
"""Milliseconds of an ID before the clock, from which on `attach.lua` is asked about it."""

CAREFUL_FOR = 1.0
"""Seconds without anything special until a partition takes the common way again."""

BLIP = 1.0
"""Seconds for which a server may be away without anybody's silence being looked at anew."""

FIRST_CONFLICT_DELAY = 0.01
LONGEST_CONFLICT_DELAY = 1.0
"""Seconds before a batch is tried again when somebody changed a status of it, again and again."""


class PartitionKeyspace(Stream, Protocol):
    """The server's half of a partition; `store.py` says what each method does."""

    async def attach(self, deployment: Deployment, *, thorough: bool) -> Attached:
        """Find the cursor, and go by the rules of the deployment."""

    async def has_marks(self) -> bool:
        """Tell whether anybody may be marked as stalled."""

    async def load(self, wanted: Wanted) -> Mapping[str, Statuses]:
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
        agreed: Callable[[], Awaitable[Deployment]],
        tally: Tally,
        *,
        backoff: Backoff,
        limits: Limits,
        rejected_key: str,
        common: Common | None = None,
        careful_for: float = CAREFUL_FOR,
    ) -> None:
        """Read it by itself only, where there is no common way."""
        self._number = number
        self._name = f"partition {number}"
        self._store = store
        self._builder = builder
        self._agreed = agreed
        self._tally = tally
        self._backoff = backoff
        self._limits = limits
        self._reader = Reader(store, limits)
        # Bytes of the entries of the current batch.
        self._size = 0
        # The batch before the current one.
        self._committing: asyncio.Task[Batch] | None = None
        self._stop = asyncio.Event()
        # Whether other rules are in force than those that the current batch is folded by.
        self._is_revised = False
        # Set when there is something else to do than to wait.
        self._wake = asyncio.Event()
        # When the stream's last ID is to be looked at, though there is no other reason to.
        self._thorough_at = float("-inf")
        # Commits in a row that were refused because somebody changed a status.
        self._conflicts = 0
        self._log = PartitionLog(number, rejected_key)
        self._common = common
        self._careful_for = careful_for
        # Since when the server could not be used.
        self._away_since: float | None = None
        # Whether it is to read by itself next, and until when; and what it is on the common way.
        self._is_careful = False
        self._careful_until = float("-inf")
        self._member: Member | None = None

    @property
    def heard(self) -> Heard:
        """When its entities were last heard of."""
        return self._builder.heard

    @property
    def statuses(self) -> StatusCache:
        """The statuses that it keeps in memory."""
        return self._builder.cache

    def stop(self) -> None:
        """Let `run` return when the current batch is committed; at once where there is none."""
        self._stop.set()
        self._interrupt()

    def revise(self) -> None:
        """Go by the rules that are in force now: drop what was folded ahead, and fold it again."""
        self._is_revised = True
        self._interrupt()

    def _interrupt(self) -> None:
        self._wake.set()
        self._reader.interrupt()
        if self._member is not None:
            self._member.leave()

    async def run(self) -> None:
        """Go on until `stop`.

        What an operator can mend is waited out. A deployment that has become another one, which
        `agreed` raises, and bugs pass through.
        """
        try:
            await self._run()
        finally:
            self._backoff.forget(self._name)

    async def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self._is_revised = False
            try:
                await self._attach()
                self._come_back()
                while not self._stop.is_set() and not self._is_revised:
                    common = self._way()
                    await (self._turn() if common is None else self._go_along(common))
                if not self._is_revised:
                    await self._commit(wait=True)
            except StatusChangedError as error:
                self._tally.refused["status_changed"] += 1
                await self._resolve(error)
            except RefusedTogetherError as error:
                if error.was_new:
                    self._builder.suspend_optimistic_creates()
            except CursorMovedError as error:
                self._tally.refused["cursor_moved"] += 1
                self._log.moved(error.cursor)
            except UNAVAILABLE as error:
                self.heard.is_unsure = True
                if self._away_since is None:
                    self._away_since = time.monotonic()
                self._reader.failed()
                self._limits.shrink()
                await self._backoff.wait(self._name, error, self._wake)
            finally:
                self._be_careful()
                await self._drop()

    def _come_back(self) -> None:
        """After an outage, take nobody for silent who could not be heard of meanwhile."""
        if self._away_since is not None and time.monotonic() - self._away_since > BLIP:
            self.heard.begin_anew()
        self._away_since = None

    def _way(self) -> Common | None:
        """Return the common way where it is enough: there is nothing special, nor was lately."""
        is_calm = (
            not self._is_careful
            and time.monotonic() >= self._careful_until
            and not self._builder.batch.entries
            and self._committing is None
            and not self._reader.is_ahead
        )
        return self._common if is_calm else None

    def _be_careful(self) -> None:
        self._is_careful = True
        self._careful_until = time.monotonic() + self._careful_for

    async def _go_along(self, common: Common) -> None:
        """Take the common way until something is rare or large."""
        member = self._member = Member(
            self._builder,
            load=self._load,
            written=self._written,
            dropped=self._log.dropped,
            at_rest=self._at_rest,
        )
        try:
            await common.join(self._number, member)
        finally:
            self._member = None
        self._be_careful()
        if self._is_revised:
            return
        await self._commit(wait=True)
        if member.is_odd:
            self._thorough_at = float("-inf")
            await self._check_keys()

    async def _turn(self) -> None:
        """Read once; commit what came, unless a backlog fills the batch further."""
        self._is_careful = False
        if self._builder.batch.entries and await self._reader.is_late():
            await self._commit(wait=False)
        read = await self._reader.next(self._builder.batch.cursor)
        if not read.entries:
            await self._pause()
            return
        if self._size + read.size > self._limits.size:
            await self._commit(wait=False)
        self._size += read.size
        entries = self._builder.batch.entries + len(read.entries)
        full = entries + self._reader.count > self._limits.entries
        if read.more:
            # The server reads on while this is folded. The current batch must not wait for what
            # is still to be written.
            self._reader.read_ahead(read.entries[-1][0].decode(), BLOCK if full else None)
            await asyncio.sleep(0)  # else it is sent after the folding
        await self._fold(read)
        if full or not read.more:
            await self._commit(wait=not read.more)
        if not read.more and _is_ahead(self._builder.batch.cursor):
            await self._check_keys()

    async def _fold(self, read: Read) -> None:
        for piece in pieces(read):
            if piece.removing is None:
                await folded(self._builder.fold(piece.entries, piece.values), self._load)
            else:
                # Alone: what stands before it is to be in the keys, and what follows begins anew.
                await self._commit(wait=True)
                removing = self._builder.remove(piece.entries[0], piece.removing)
                await folded(removing, self._load)
                await self._commit(wait=True)
            if piece.entries is not read.entries:
                await asyncio.sleep(0)

    async def _load(self, wanted: Wanted) -> Mapping[str, Statuses]:
        began = time.monotonic()
        loaded = await self._store.load(wanted)
        self._limits.read_took(time.monotonic() - began)
        return loaded

    async def _pause(self) -> None:
        """Commit the current batch where nothing follows it; where nothing is, check the keys."""
        idle = not self._builder.batch.entries
        await self._commit(wait=True)
        if idle and not self._stop.is_set():
            await self._check_keys()
            self._at_rest()

    def _at_rest(self) -> None:
        """Note that all is well while nothing comes."""
        self._backoff.succeeded(self._name)
        self._log.at_rest()

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
            self._committing = started(commit, f"{self._name}: commit")
            await asyncio.sleep(0)  # else it is sent after the next folding

    async def _committed(self) -> None:
        """Wait for the commit that is on its way; raises what `Store.commit` raises."""
        if self._committing is not None:
            self._builder.committed(await self._committing)
            self._committing = None

    async def _write(self, batch: Batch) -> Batch:
        began = time.monotonic()
        dropped = await self._store.commit(batch)
        took = time.monotonic() - began
        self._limits.commit_took(took)
        self._tally.took(took, batch.entries)
        self._tally.committed([batch])
        self._written(batch)
        if dropped:
            self._log.dropped(dropped)
        return batch

    def _written(self, batch: Batch) -> None:
        """Note what a commit did, on either way."""
        self._conflicts = 0
        self._backoff.succeeded(self._name)
        self._log.rejected(batch.rejected)
        if self._member is not None and _is_ahead(batch.cursor):
            self._member.is_odd = True
            self._member.leave()

    async def _resolve(self, error: StatusChangedError) -> None:
        """Get ready to try again with statuses that are loaded; later, the more often it fails."""
        self._builder.suspend_optimistic_creates()
        self._conflicts += 1
        if self._conflicts > 1 or error.was_known:
            self._log.conflict(str(error))
        if self._conflicts > 1:
            # The fewer entries there are, the less time there is for somebody to change one.
            self._reader.failed()
            self._limits.shrink()
            delay = FIRST_CONFLICT_DELAY * 2 ** min(self._conflicts, 10)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(delay, LONGEST_CONFLICT_DELAY)):
                    await self._wake.wait()

    async def _drop(self) -> None:
        """Forget what is on its way: it follows a batch that may not have been committed."""
        await self._reader.drop()
        if self._committing is not None:
            committing, self._committing = self._committing, None
            await cancelled([committing])

    async def _attach(self) -> None:
        """Find where to read on, on a server that may be another one than before."""
        deployment = await self._agreed()
        await self._adopt(deployment, await self._look(deployment))

    async def _check_keys(self) -> None:
        """Notice, while nothing comes, that the keys were flushed, restored or taken over."""
        deployment = self._builder.deployment
        attached = await self._look(deployment)
        if attached.created or attached.lost or attached.cursor != self._builder.batch.cursor:
            await self._agreed()
            await self._adopt(deployment, attached)

    async def _look(self, deployment: Deployment) -> Attached:
        thorough = time.monotonic() > self._thorough_at
        attached = await self._store.attach(deployment, thorough=thorough)
        if thorough:
            self._thorough_at = time.monotonic() + THOROUGH_EVERY
        return attached

    async def _adopt(self, deployment: Deployment, attached: Attached) -> None:
        """Read on from where the keys say; what was kept in memory may not be true any more."""
        has_marks = await self._store.has_marks()
        self._builder.restart(attached.cursor, deployment, has_marks=has_marks)
        self._size = 0
        self._log.attached(attached)


def _is_ahead(cursor: str) -> bool:
    return int(cursor.partition("-")[0]) > time.time() * 1000 + MOST_AHEAD
