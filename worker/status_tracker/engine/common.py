"""The common way: all calm partitions of a worker, read by one command, committed in one step.

    partition.py ──join──▶ wait a little → read and decode all → fold each → commit together
                 ◀──leave── once anything is rare or large

Most updates go this way, and it is to cost little. It mends nothing: whatever is rare, large or
wrong leaves it, and is handled by the partition's own loop (`partition.py`), which holds up nobody
else. Both ways use the same builder, and the same script.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from redis.exceptions import ResponseError

from status_tracker.cancellation import cancelled
from status_tracker.decode import Entry, find_all
from status_tracker.engine.batch import Batch, BatchBuilder
from status_tracker.engine.folding import Load, folded
from status_tracker.engine.samples import sampled
from status_tracker.engine.tally import Tally
from status_tracker.lua.commit import CursorMovedError, StatusChangedError
from status_tracker.models import Rejection, Update

BLOCK = 1000
"""Milliseconds that a read waits for entries."""

LOOK_EVERY = 2.0
"""Seconds between two looks at the keys of all partitions, so that what vanished is noticed."""

JOIN_WITHIN = 0.01
"""Seconds that a partition waits at most until a read that waits for others is begun anew with it.
What would wake the server's side (CLIENT UNBLOCK) is a permission more; so the connection is given
up, which costs a new one, but only while nothing comes."""

MOST_COUNT = 500
FEWEST_COUNT = 10
"""Entries of one partition that are read at once, between these by how many partitions there are.
One that has more has a backlog, and reads it by itself. The first read with a partition asks for
few, for nothing is known of their size: they may have 10 MB each."""

MARGIN = 0.0015
"""Seconds that a pause is shorter: timers of asyncio have whole ms, and reading takes some."""

LARGEST = 128 * 1024
"""Bytes of one partition's entries in a read, from which on it reads them by itself."""

MOST_REJECTED = 10
"""Entries of one read that may be rejected; more, and the partition goes on by itself."""


Found = tuple["Member", list[Entry]]
"""A partition, and what a read brought it."""

Decoded = tuple["Member", list[Entry], list[Update | Rejection]]
"""The same with what the entries hold."""


class RefusedTogetherError(Exception):
    """A commit of several partitions was refused: each is to try alone. Nothing was written."""

    def __init__(self, *, was_new: bool) -> None:
        super().__init__()
        self.was_new = was_new
        """Whether an entity that was taken for new has a status."""


class CommonKeyspace(Protocol):
    """The server's half; `common_store.py` says what each method does."""

    async def read(
        self, cursors: Mapping[int, str], *, count: int, block: int
    ) -> list[tuple[int, list[Entry]]]:
        """Read entries after the cursor of each partition."""

    async def commit(self, batches: Sequence[Batch]) -> int:
        """Write batches."""

    async def glance(self, expected: Mapping[int, tuple[str, int]], thorough: int) -> list[int]:
        """Return the numbers of partitions whose keys are not as expected."""


class Member:
    """A partition on the common way."""

    def __init__(
        self,
        builder: BatchBuilder,
        *,
        load: Load,
        written: Callable[[Batch], None],
        dropped: Callable[[int], None],
        at_rest: Callable[[], None],
    ) -> None:
        self.builder = builder
        self.load = load
        self.written = written
        self.dropped = dropped
        self.at_rest = at_rest
        self.is_new = True
        """Whether no read was with it yet."""
        self.is_odd: bool = False
        """Whether its keys are to be looked at once it has left."""
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Between reading and commit nobody else may touch the builder.
        self._is_held = False
        self.is_leaving: bool = False
        """Whether it is to leave once nothing of it is in hand."""

    @property
    def has_left(self) -> bool:
        """Whether its own loop goes on with it, or nobody does."""
        return self._left.done()

    async def until_it_leaves(self) -> None:
        """Wait; raises what went wrong."""
        await self._left

    def leave(self) -> None:
        """Leave, as soon as the entries in hand are committed."""
        self.is_leaving = True
        if not self._is_held and not self.has_left:
            self._left.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Leave at once, with what is in hand dropped."""
        if not self.has_left:
            self._left.set_exception(error)

    def hold(self) -> None:
        """Keep it until `release`."""
        self._is_held = True

    def release(self) -> None:
        """Let it go if it wants to."""
        self._is_held = False
        if self.is_leaving:
            self.leave()


class Common:
    """Reads and commits for all partitions that have joined."""

    def __init__(
        self,
        store: CommonKeyspace,
        tally: Tally,
        *,
        linger: int,
        batch_entries: int,
        batch_bytes: int,
    ) -> None:
        self._store = store
        self._tally = tally
        self._linger = linger / 1000
        self._batch_entries = batch_entries
        self._batch_bytes = batch_bytes
        self._members: dict[int, Member] = {}
        self._joining: dict[int, Member] = {}
        self._task: asyncio.Task[None] | None = None
        # While it waits for entries: the task, and what is going to interrupt it.
        self._waiting: asyncio.Task[Any] | None = None
        self._interruption: asyncio.TimerHandle | None = None
        self._is_interrupted = False
        # When the last read ended, where the next one is to wait for entries to gather.
        self._lingers_from: float | None = None
        # When the keys are looked at next, and how often they were.
        self._look_at = float("-inf")
        self._looks = 0
        # Entries of each partition that are a backlog.
        self._most = 0

    async def join(self, number: int, member: Member) -> None:
        """Have a partition's updates read and committed until it leaves.

        Its current batch is then still to be committed, where that is better done alone. Raises
        what reading and committing raise, and `RefusedTogetherError`.
        """
        self._joining[number] = member
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="common")
        elif self._interruption is None:
            loop = asyncio.get_running_loop()
            self._interruption = loop.call_later(JOIN_WITHIN, self._interrupt)
        try:
            await member.until_it_leaves()
        finally:
            for members in (self._members, self._joining):
                if members.get(number) is member:
                    del members[number]

    async def close(self) -> None:
        """End a read that waits for nobody."""
        if self._task is not None:
            await cancelled([self._task])

    async def _run(self) -> None:
        self._look_at = asyncio.get_running_loop().time() + LOOK_EVERY
        try:
            while self._members or self._joining:
                await self._turn()
        except Exception as error:  # noqa: BLE001 - each partition raises it, and handles it
            for member in (*self._members.values(), *self._joining.values()):
                member.fail(error)
            self._members.clear()
            self._joining.clear()

    async def _turn(self) -> None:
        """Read once, and commit what came."""
        await self._linger_on()
        self._members |= self._joining
        self._joining.clear()
        members = {number: each for number, each in self._members.items() if not each.has_left}
        if not members:
            await asyncio.sleep(0)
        elif asyncio.get_running_loop().time() >= self._look_at:
            await self._look(members)
        elif found := await self._read(members):
            # Who left meanwhile is somewhere else by now, be it that it joined again.
            await self._handle([(members[n], some) for n, some in found if not members[n].has_left])

    async def _handle(self, found: Sequence[Found]) -> None:
        """Fold what came, and commit it: together, as far as it goes by the same rules.

        Those who share a deployment's object go by the same rules and have the same decoder.
        """
        alike: dict[int, list[Found]] = {}
        for member, entries in found:
            member.hold()
            alike.setdefault(id(member.builder.deployment), []).append((member, entries))
        try:
            for some in alike.values():
                if members := await self._fold(some):
                    await self._commit(members)
        except Exception as error:
            for member, _ in found:
                member.fail(error)  # before it may leave as if all were well
            raise
        finally:
            for member, _ in found:
                member.release()

    async def _linger_on(self) -> None:
        """Wait so long that half of the updates are in their keys within `linger`.

        On average an update comes in the middle between two reads, and then takes what the last
        ones took: so these are twice as far apart as is left of `linger`.
        """
        if self._lingers_from is None:
            return
        took = asyncio.get_running_loop().time() - self._lingers_from
        self._lingers_from = None
        if (pause := 2 * (self._linger - took) - took - MARGIN) > 0:
            await asyncio.sleep(pause)

    def _fair_count(self, partitions: int) -> int:
        """Return how many entries of each partition are read: together, about a batch."""
        fair = max(self._batch_entries // partitions, FEWEST_COUNT)
        return min(fair, MOST_COUNT, self._batch_entries)

    async def _read(self, members: Mapping[int, Member]) -> list[tuple[int, list[Entry]]]:
        """Read; nothing comes where nothing is there, or where it is interrupted."""
        cursors = {number: each.builder.batch.cursor for number, each in members.items()}
        count = self._most = self._fair_count(len(members))
        if any(each.is_new for each in members.values()):
            count = min(count, FEWEST_COUNT)
        loop = asyncio.get_running_loop()
        began = loop.time()
        task = self._waiting = asyncio.current_task()
        try:
            found = await self._store.read(cursors, count=count, block=BLOCK)
        except asyncio.CancelledError:
            # One cancellation is the interruption's; another one would be of the loop itself.
            if not self._is_interrupted or task is None or task.uncancel():
                raise
            return []
        finally:
            self._waiting = None
            self._is_interrupted = False
        # While updates trickle, reads are spaced; after quiet, nothing is waited for.
        for each in members.values():
            each.is_new = False
        if found and loop.time() - began < self._linger:
            self._lingers_from = loop.time()
        return found

    def _interrupt(self) -> None:
        """Begin a read anew, with those who joined meanwhile."""
        self._interruption = None
        if self._waiting is not None and self._joining:
            self._is_interrupted = True
            self._waiting.cancel()

    async def _fold(self, found: Sequence[Found]) -> list[Member]:
        """Fold what partitions got; return those that are committed together.

        The others leave: who got much before that, who is to leave with its batch in hand.
        """
        found, values = self._little(found)
        if not found:
            return []
        decoder = found[0][0].builder.deployment.decoder
        decoded = decoder.decode_all(values)
        together: list[Decoded] = []
        begin = 0
        for member, entries in found:
            updates = decoded[begin : begin + len(entries)]
            begin += len(entries)
            await folded(member.builder.apply(entries, updates), member.load)
            batch = member.builder.batch
            if batch.forwards or len(batch.rejected) > MOST_REJECTED:
                member.leave()
            if member.is_leaving:
                batch.samples += sampled(entries, updates, decoder.kinds)
                member.release()
            together.append((member, entries, updates))
        together = [each for each in together if not each[0].has_left]
        _sample(together, decoder.kinds)
        return [member for member, _, _ in together]

    def _little(
        self, found: Sequence[Found]
    ) -> tuple[Sequence[Found], Sequence[bytes | Rejection]]:
        """Return those who got little, with the values of all their entries; the others leave."""
        largest = min(LARGEST, self._batch_bytes // max(len(self._members), 1))
        values, size, removes = find_all(_entries_of(found))
        if removes or size > largest or max(len(each) for _, each in found) >= self._most:
            little: list[Found] = []
            for member, entries in found:
                _, size, removes = find_all(entries)
                if removes or size > largest or len(entries) >= self._most:
                    member.leave()
                    member.release()
                else:
                    little.append((member, entries))
            found, values = little, find_all(_entries_of(little)).values
        return found, cast("Sequence[bytes | Rejection]", values)

    async def _commit(self, members: Sequence[Member]) -> None:
        """Commit the batches of partitions together."""
        batches = [each.builder.close() for each in members]
        began = time.monotonic()
        try:
            dropped = await self._store.commit(batches)
        except (StatusChangedError, CursorMovedError, ResponseError) as error:
            _refused(members, error)
            return
        self._tally.took(time.monotonic() - began, sum([each.entries for each in batches]))
        self._tally.committed(batches)
        for member, batch in zip(members, batches, strict=True):
            member.builder.committed(batch)
            member.written(batch)
        if dropped:
            members[0].dropped(dropped)

    async def _look(self, members: Mapping[int, Member]) -> None:
        """Have those leave whose keys were flushed, restored or taken over."""
        self._look_at = asyncio.get_running_loop().time() + LOOK_EVERY
        for member in members.values():
            member.at_rest()
        expected = {
            number: (each.builder.batch.cursor, each.builder.batch.revision)
            for number, each in members.items()
        }
        self._looks += 1
        thorough = list(expected)[self._looks % len(expected)]
        for number in await self._store.glance(expected, thorough):
            members[number].is_odd = True
            members[number].leave()


def _entries_of(found: Sequence[Found]) -> list[Entry]:
    return [entry for _, entries in found for entry in entries]


def _sample(together: Sequence[Decoded], kinds: Mapping[type[Update], str]) -> None:
    """Have the first one's batch count a few entries for all: one of each would cost too much."""
    if together:
        entries = [entry for _, some, _ in together for entry in some]
        updates = [update for _, _, some in together for update in some]
        together[0][0].builder.batch.samples += sampled(entries, updates, kinds)


def _refused(members: Sequence[Member], error: Exception) -> None:
    """Have each partition of a refused commit try alone; which one it is about is not said."""
    if len(members) > 1:
        was_new = isinstance(error, StatusChangedError) and not error.was_known
        error = RefusedTogetherError(was_new=was_new)
    for member in members:
        member.fail(error)
