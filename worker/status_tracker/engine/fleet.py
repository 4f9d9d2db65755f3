"""Who owns which partition: each worker keeps its fair share at work.

Leases keep two workers from doing the same work twice. They are not what makes it right: a worker
that goes on without its lease, or never had one, is told by the commit that the cursor moved.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from redis.exceptions import ResponseError

from status_tracker.cancellation import cancelled
from status_tracker.connection.client import UNAVAILABLE
from status_tracker.engine.agreement import Agreement
from status_tracker.engine.assignment import assign
from status_tracker.engine.backoff import Backoff
from status_tracker.engine.heard import Heard
from status_tracker.engine.leases import Leases
from status_tracker.engine.partition import Partition

log: logging.Logger = logging.getLogger(__name__)

FINISH_WITHIN = 0.6
"""Seconds that partitions have to finish the current batch when they are given up; then they are
cancelled, which loses nothing: what was not committed is read again."""

LEAVE_WITHIN = 0.2
"""Seconds to give the leases back at the end; those that are not, run out."""

LOOKS_PER_HEARTBEAT = 4
"""How many times in a heartbeat a worker looks that waits for others to release its share."""


def unique_name() -> str:
    """Return a name that no other worker has: host, process id and a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class _Owned:
    """A partition that this worker reads, and until when the lease of it surely is its own."""

    def __init__(self, number: int, partition: Partition, task: asyncio.Task[None]) -> None:
        self.task = task
        self.stopping = False
        self._number = number
        self.partition = partition
        self._timer: asyncio.TimerHandle | None = None

    def renew(self, until: float) -> None:
        """Go on until that time of the loop, unless it is renewed again before."""
        if not self.stopping:
            self._cancel_timer()
            self._timer = asyncio.get_running_loop().call_at(until, self._run_out)

    def stop(self) -> None:
        """Finish the current batch."""
        self.stopping = True
        self._cancel_timer()
        self.partition.stop()

    @property
    def heard(self) -> Heard:
        """When its entities were last heard of."""
        return self.partition.heard

    def revise(self) -> None:
        """Go by the rules that are in force now."""
        self.partition.revise()

    def cancel(self, why: str) -> None:
        """End as soon as possible, with the current batch unfinished."""
        if not self.stopping:
            log.warning(
                "partition %d: %s; stopping",
                self._number,
                why,
                extra={"event": "lease_lost", "partition": self._number},
            )
            self.stop()
            self.task.cancel()

    def _run_out(self) -> None:
        """Stop before another worker may begin."""
        self.cancel("its lease could not be renewed")

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Fleet:
    """One worker's part in the fleet."""

    def __init__(
        self,
        leases: Leases,
        agreement: Agreement,
        make: Callable[[int], Partition],
        backoff: Backoff,
        *,
        heartbeat: int,
        sole: bool,
    ) -> None:
        """Join when it is run; `sole` says that no other worker can have its name."""
        self._leases = leases
        self._agreement = agreement
        self._make = make
        self._backoff = backoff
        self._heartbeat = heartbeat / 1000
        # Between our clock and the server's, and for the time that it takes to stop.
        self._margin = heartbeat
        self._owned: dict[int, _Owned] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._expects_namesake = not sole
        self._said: tuple[object, ...] = ()
        self.share: int | None = None
        """How many partitions this worker should read; None before it knows."""
        self.moves: Counter[str] = Counter()
        """How often a partition was ``taken``, ``given`` to others, or ``lost``."""

    @property
    def partitions(self) -> dict[int, Partition]:
        """What this worker reads, by number."""
        return {number: each.partition for number, each in list(self._owned.items())}

    def owned(self) -> dict[int, Heard]:
        """Return, by the numbers of this worker's partitions, when their entities were heard of."""
        return {number: each.heard for number, each in self._owned.items() if not each.stopping}

    async def run(self) -> None:
        """Keep this worker's share of the partitions at work; `shut_down` is to follow.

        Raises what a partition raises: that the deployment is another one now, and bugs.
        """
        # Apart, for on a cluster each may have to wait for a master that is not the others'.
        self._loops = [
            asyncio.create_task(self._keep_leases(), name="leases"),
            asyncio.create_task(self._keep_share(), name="share"),
            asyncio.create_task(self._keep_rules(), name="rules"),
            asyncio.create_task(self._end_old_workers(), name="old workers"),
        ]
        self._agreement.call(self._revise)
        await asyncio.wait(self._loops, return_when=asyncio.FIRST_EXCEPTION)
        _raise_what_failed(self._loops)

    async def shut_down(self) -> None:
        """Finish the current batches, and let others have the partitions at once."""
        # Not by `run`: whoever cancels that does it until it ends, and would end this, too.
        await cancelled(self._loops)
        try:
            await self._finish(list(self._owned))
        finally:
            leaving = asyncio.create_task(self._leave(), name="leave")
            await asyncio.wait([leaving], timeout=LEAVE_WITHIN)
            await cancelled([leaving])

    async def _keep_leases(self) -> None:
        """Renew the leases at every heartbeat."""
        while True:
            held = [number for number, each in self._owned.items() if not each.stopping]
            try:
                await self._leases.claim(held, partial(self._claimed, self._until(), start=False))
            except UNAVAILABLE as error:
                self._backoff.failed("leases", error)
            else:
                self._backoff.succeeded("leases")
            await asyncio.sleep(self._heartbeat)

    async def _keep_share(self) -> None:
        """Take and give up partitions, as workers come and go."""
        while True:
            waiting = False
            try:
                waiting = await self._share()
            except UNAVAILABLE as error:
                self._backoff.failed("fleet", error)
            else:
                self._backoff.succeeded("fleet")
            await self._pause(self._heartbeat / (LOOKS_PER_HEARTBEAT if waiting else 1))

    async def _keep_rules(self) -> None:
        """Go by the rules that are in force."""
        while True:
            try:
                await self._agreement.keep_up()
            except UNAVAILABLE as error:
                self._backoff.failed("rules", error)
            else:
                self._backoff.succeeded("rules")
            await asyncio.sleep(self._heartbeat)

    async def _end_old_workers(self) -> None:
        """Have workers of the first release end, where there are any."""
        ended = False
        while not ended:
            try:
                ended = await self._agreement.end_old_workers()
            except UNAVAILABLE as error:
                self._backoff.failed("old workers", error)
            else:
                self._backoff.succeeded("old workers")
            await asyncio.sleep(self._heartbeat)

    def _revise(self) -> None:
        revision = self._agreement.known.revision
        log.info(
            "revision %d of the rules is in force",
            revision,
            extra={"event": "rules_revised", "revision": revision},
        )
        for each in self._owned.values():
            each.revise()

    async def _share(self) -> bool:
        """Make one heartbeat; tell whether others still hold what is this worker's share."""
        # As long as a lease: a dead worker's share and its partitions are free at about one time.
        workers, known = await self._leases.beat(self._leases.ttl)
        if known and self._expects_namesake:
            log.warning(
                "a worker named %s was there a moment ago: if it still is, one of the two needs "
                "another name",
                self._leases.name,
                extra={"event": "namesake_seen"},
            )
        self._expects_namesake = False
        name = self._leases.name
        owners: dict[int, str | None] = dict.fromkeys(self._owned, name)
        owners |= await self._leases.owners()
        wanted = assign(name, workers, owners, self._leases.partitions)
        self.share = wanted.share
        giving = [number for number in wanted.give if number in self._owned]
        await self._finish(giving)
        self.moves["given"] += len(giving)
        await self._leases.release(wanted.give)
        # A lease of ours without work is one that had to stop, or of a killed namesake.
        idle = {number for number in owners if owners[number] == name} - self._owned.keys()
        take = [*idle.difference(wanted.give), *wanted.take]
        await self._leases.claim(take, partial(self._claimed, self._until(), start=True))
        self._say(len(workers), wanted.share)
        return len(self._owned) < wanted.share

    def _until(self) -> float:
        """Return the time of the loop at which a lease that is claimed now may run out."""
        return asyncio.get_running_loop().time() + (self._leases.ttl - self._margin) / 1000

    def _claimed(
        self, until: float, number: int, owner: str | ResponseError, *, start: bool
    ) -> None:
        """Go on with a partition whose lease is ours, or start; stop where somebody else has it."""
        held = self._owned.get(number)
        if isinstance(owner, ResponseError):
            self._backoff.failed(f"lease {number}", owner)
            return
        self._backoff.succeeded(f"lease {number}")
        if owner != self._leases.name:
            if held is not None:
                held.cancel(f"its lease is {owner}'s now")
            return
        if held is None and start:
            held = self._owned[number] = self._start(number)
        if held is not None:
            held.renew(until)

    def _start(self, number: int) -> _Owned:
        self.moves["taken"] += 1
        partition = self._make(number)
        task = asyncio.create_task(partition.run(), name=f"partition {number}")
        return _Owned(number, partition, task)

    async def _finish(self, numbers: Iterable[int]) -> None:
        """Stop partitions when they have finished, or have had the time to."""
        ending = {number: self._owned[number] for number in numbers}
        for each in ending.values():
            each.stop()
        tasks = [each.task for each in ending.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=FINISH_WITHIN)
        await self._drop(ending)
        _raise_what_failed(tasks)

    async def _drop(self, ending: Mapping[int, _Owned]) -> None:
        """Forget partitions when they have ended, and not before: this may be cancelled itself."""
        await cancelled([each.task for each in ending.values()])
        for number in ending:
            del self._owned[number]

    async def _leave(self) -> None:
        # Of all partitions: a claim that was cancelled may have got through. The leases first, so
        # that none seems to have an owner who left; but beside each other, for on a cluster one may
        # not get through.
        leaving = self._leases.release(range(self._leases.partitions)), self._leases.leave()
        for error in await asyncio.gather(*leaving, return_exceptions=True):
            if error is not None:
                log.debug("leases are left to run out: %r", error, extra={"event": "leases_left"})

    async def _pause(self, seconds: float) -> None:
        """Wait for the next round, or for a partition to end."""
        tasks = [each.task for each in self._owned.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)
        _raise_what_failed(tasks)
        ended = {
            number: each
            for number, each in self._owned.items()
            if each.stopping or each.task.done()
        }
        await self._drop(ended)
        self.moves["lost"] += len(ended)
        if ended:
            self._said = ()  # that they are read again is news, even if nothing else has changed

    def _say(self, workers: int, share: int) -> None:
        """Tell the log what this worker has, whenever that changes."""
        numbers = sorted(self._owned)
        saying = (workers, share, numbers)
        if saying == self._said:
            return
        self._said = saying
        partitions = self._leases.partitions
        about = {"partitions": partitions, "workers": workers}
        if not share:
            log.info(
                "standing by: %d workers share %d partitions",
                workers,
                partitions,
                extra={"event": "standing_by", **about},
            )
            return
        log.info(
            "reading %d of %d partitions (%s), shared by %d %s",
            len(numbers),
            partitions,
            ", ".join(map(str, numbers)) or "waiting for other workers to release them",
            workers,
            "worker" if workers == 1 else "workers",
            extra={"event": "share_changed", "reading": numbers, **about},
        )


def _raise_what_failed(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()):
            raise error
