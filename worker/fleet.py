"""Who owns which partition: each worker keeps its fair share at work.

Leases keep two workers from doing the same work twice. They are not what makes it right: a worker
that goes on without its lease, or never had one, is told by the commit that the cursor moved.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec import Struct

from worker.connection import UNAVAILABLE
from worker.leases import Leases
from worker.outage import Outage
from worker.partition import Partition, cancelled

log = logging.getLogger(__name__)

FINISH_WITHIN = 0.6
"""Seconds that partitions have to finish the batch in hand when they are given up; then they are
cut off, which loses nothing: what was not committed is read again."""

LEAVE_WITHIN = 0.2
"""Seconds to give the leases back at the end; those that are not, run out."""

IMPATIENCE = 4
"""How many times in a heartbeat a worker looks that waits for what others still hold."""


class Plan(Struct, frozen=True):
    """What one worker does to have its share, no more and no less."""

    give: list[int]
    take: list[int]
    share: int
    """How many partitions are its share."""


def plan(
    name: str, workers: Collection[str], owners: Mapping[int, str | None], partitions: int
) -> Plan:
    """Return what the worker of that name, one of `workers`, should give up and take.

    `owners` has the owner of each partition, None for a free one; one that is not known is left
    alone. Shares differ by one at the most. The larger ones go to those who have that much already,
    so that no more moves than must; and while they give up the rest they stay the same ones.
    Everyone who sees the same comes to the same result: only who does not wants what others want.
    """
    held: dict[str, list[int]] = {worker: [] for worker in workers}
    for number, owner in sorted(owners.items()):
        if owner in held:
            held[owner].append(number)
    free = [number for number, owner in sorted(owners.items()) if owner is None]
    share, larger = divmod(partitions, len(workers))
    ranked = sorted(held, key=lambda worker: (len(held[worker]) <= share, worker))
    shares = {worker: share + (place < larger) for place, worker in enumerate(ranked)}
    lacking = {worker: max(shares[worker] - len(held[worker]), 0) for worker in shares}
    before = sum(lacking[worker] for worker in shares if worker < name)
    return Plan(
        give=held[name][shares[name] :],
        take=free[before : before + lacking[name]],
        share=shares[name],
    )


def unique_name() -> str:
    """Return a name that no other worker has: host, process id and a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class _AtWork:
    """A partition that this worker reads, and until when the lease of it surely is its own."""

    def __init__(self, number: int, partition: Partition, task: asyncio.Task[None]) -> None:
        self.partition = partition
        self.task = task
        self.cut = False
        self._number = number
        self._timer: asyncio.TimerHandle | None = None

    def prolong(self, until: float) -> None:
        """Go on until that time of the loop, unless it is prolonged again before."""
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_at(until, self._run_out)

    def stop(self) -> None:
        """Finish the batch in hand."""
        self._cancel_timer()
        self.partition.stop()

    def cut_off(self, why: str) -> None:
        """End as soon as possible, with the batch in hand unfinished."""
        log.warning("partition %d: %s", self._number, why)
        self.cut = True
        self.stop()
        self.task.cancel()

    def _run_out(self) -> None:
        """Stop before another worker may begin."""
        self.cut_off("its lease could not be prolonged; stopping")

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Fleet:
    """One worker's part in the fleet."""

    def __init__(
        self,
        leases: Leases,
        make: Callable[[int], Partition],
        outage: Outage,
        *,
        heartbeat: int,
    ) -> None:
        self._leases = leases
        self._make = make
        self._outage = outage
        self._heartbeat = heartbeat / 1000
        # Between our clock and the server's, and for the time that it takes to stop.
        self._margin = heartbeat
        self._at_work: dict[int, _AtWork] = {}
        self._beats = 0
        self._said: tuple[object, ...] = ()

    async def run(self) -> None:
        """Keep this worker's share of the partitions at work, until cancelled.

        Raises what a partition raises: that the deployment is another one now, and bugs.
        """
        while True:
            waiting = False
            try:
                waiting = await self._round()
            except UNAVAILABLE as error:
                self._outage.note("fleet", error)
            else:
                self._outage.over("fleet")
            await self._pause(self._heartbeat / (IMPATIENCE if waiting else 1))

    async def hand_back(self) -> None:
        """Finish the batches in hand, and let others have the partitions at once."""
        try:
            await self._finish(list(self._at_work))
        finally:
            leaving = asyncio.create_task(self._leave(), name="leave")
            await asyncio.wait([leaving], timeout=LEAVE_WITHIN)
            await cancelled([leaving])

    async def _round(self) -> bool:
        """Make one heartbeat; tell whether others still hold what is this worker's share."""
        # First of all: when the heartbeat fails, leases may still be prolonged, in a cluster.
        await self._hold(list(self._at_work))
        workers, known = await self._leases.beat(self._leases.ttl - self._margin)
        if known and not self._beats:
            log.warning(
                "a worker named %s was there a moment ago: two at a time need two names",
                self._leases.name,
            )
        self._beats += 1
        name = self._leases.name
        owners: dict[int, str | None] = dict.fromkeys(self._at_work, name)
        owners |= await self._leases.owners()
        wanted = plan(name, workers, owners, self._leases.partitions)
        await self._finish([number for number in wanted.give if number in self._at_work])
        await self._leases.release(wanted.give)
        # A lease of ours without work is one that had to stop, or of a killed namesake.
        idle = {number for number in owners if owners[number] == name} - self._at_work.keys()
        await self._hold([*idle.difference(wanted.give), *wanted.take])
        self._say(len(workers), wanted.share)
        return len(self._at_work) < wanted.share

    async def _hold(self, numbers: list[int]) -> None:
        """Take or prolong leases; start what is new, and cut off what somebody else has."""
        asked = asyncio.get_running_loop().time()
        until = asked + (self._leases.ttl - self._margin) / 1000
        for number, owner in (await self._leases.claim(numbers)).items():
            held = self._at_work.get(number)
            if owner != self._leases.name:
                if held is not None:
                    held.cut_off(f"its lease is {owner}'s now; stopping")
            elif held is None:
                held = self._at_work[number] = self._start(number)
                held.prolong(until)
            elif not held.cut:
                held.prolong(until)

    def _start(self, number: int) -> _AtWork:
        partition = self._make(number)
        task = asyncio.create_task(partition.run(self._outage), name=f"partition {number}")
        return _AtWork(number, partition, task)

    async def _finish(self, numbers: Iterable[int]) -> None:
        """Stop partitions when they have finished, or have had the time to."""
        ending = {number: self._at_work[number] for number in numbers}
        for each in ending.values():
            each.stop()
        tasks = [each.task for each in ending.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=FINISH_WITHIN)
        await self._drop(ending)
        _raise_what_failed(tasks)

    async def _drop(self, ending: Mapping[int, _AtWork]) -> None:
        """Forget partitions when they have ended, and not before: this may be cut off by a stop."""
        await cancelled([each.task for each in ending.values()])
        for number in ending:
            del self._at_work[number]

    async def _leave(self) -> None:
        # Of all partitions: a claim that was cut off may have got through.
        try:
            await self._leases.release(range(self._leases.partitions))
            await self._leases.leave()
        except UNAVAILABLE as error:
            log.debug("leases are left to run out: %s", error)

    async def _pause(self, seconds: float) -> None:
        """Wait for the next round, or for a partition to end."""
        tasks = [each.task for each in self._at_work.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)
        _raise_what_failed(tasks)
        await self._drop({number: each for number, each in self._at_work.items() if each.cut})

    def _say(self, workers: int, share: int) -> None:
        """Tell the log what this worker has, whenever that changes."""
        numbers = sorted(self._at_work)
        saying = (workers, share, numbers)
        if saying == self._said:
            return
        self._said = saying
        partitions = self._leases.partitions
        if not share:
            log.info("standing by: %d workers share %d partitions", workers, partitions)
            return
        log.info(
            "reading %d of %d partitions (%s), shared by %d %s",
            len(numbers),
            partitions,
            ", ".join(map(str, numbers)) or "others hold them yet",
            workers,
            "worker" if workers == 1 else "workers",
        )


def _raise_what_failed(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()):
            raise error
