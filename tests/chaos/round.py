"""One round: an empty database, a fleet at work, harm, and then nothing may be missing."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.acceptance.tracker import drained
from tests.chaos import faults
from tests.chaos.effects import Checked, check
from tests.chaos.producer import producing
from tests.chaos.sampler import Sample, Sampler, sample
from tests.chaos.schedule import KILLS, Step, of_worker, schedule
from tests.chaos.sites import Layout
from tests.chaos.system import FindingError, Pace, System
from tests.chaos.timings import Absence, Measured
from tests.chaos.upkeep import has_nothing_to_do
from tests.command import ran
from tests.servers import wait_until

WORKERS = 4

CALM_RATE = 1_000.0
MIXED_RATE = 4_500.0
"""Updates per second: well under what workers can do, so that they catch up after an outage."""

SETTLES_WITHIN = 60.0
"""Seconds until everything is read, once all is well again."""


class Report(NamedTuple):
    """What one round did and found."""

    faults: Counter[str]
    checked: Checked
    measured: Measured

    @property
    def kills(self) -> int:
        """How often something was killed as nothing can prevent."""
        return sum(self.faults[name] for name in KILLS)


def play(
    binary: Path, folder: Path, seed: str, pace: Pace, *, mixed: float, layout: Layout = "single"
) -> Report:
    """Measure a fleet in a calm time, then mix faults for so many seconds, and compare.

    Raises `FindingError` for whatever is not as it must be then.
    """
    chance = random.Random(seed)
    # With `cluster`, a forward that was on its way arrives after a flush, as it may: no model can
    # know which those were.
    flush = chance.random() < 0.25 and layout == "single"
    steps = schedule(seed, WORKERS, pace, mixed, layout, flush=flush)
    with System(binary, folder, workers=WORKERS, pace=pace, layout=layout) as system:
        seed_of_updates = chance.randrange(10**9)
        with producing(system.site.server_of, system.keys, seed_of_updates, CALM_RATE) as producer:
            measured = _measure(system, chance)
            producer.rate = MIXED_RATE
            harm(system, steps)
        settle(system)
        done = Counter(step.name for track in steps for step in track)
        done.update(absence.fault for absence in measured.absences)
        flushed = bool(done["database flushed"])
        with system.client() as client:
            checked = check(client, system.keys, producer.added, flushed=flushed)
        verify(system)
    return Report(done, checked, measured)


def harm(system: System, tracks: Sequence[Sequence[Step]]) -> None:
    """Do what was drawn, each track beside the others; all is well again when this returns."""

    def follow(steps: Sequence[Step]) -> None:
        for step in steps:
            time.sleep(step.pause)
            with step.fault(system):
                time.sleep(step.hold)

    with ThreadPoolExecutor(len(tracks), "harm") as threads:
        for following in [threads.submit(follow, steps) for steps in tracks]:
            following.result()


def settle(system: System) -> None:
    """Wait until everything is read, old or marked, and stop the workers."""
    system.site.await_whole()
    with system.client() as client:
        # Twice: while the first look goes on, a later partition may forward to an earlier one.
        try:
            wait_until(
                lambda: (
                    has_nothing_to_do(client, system.keys)
                    and drained(client, system.keys)
                    and drained(client, system.keys)
                ),
                within=SETTLES_WITHIN,
            )
        except AssertionError:
            raise FindingError(
                f"after {SETTLES_WITHIN:g} s there is still something to do:\n{system.log[-5000:]}"
            ) from None
    system.stop_workers()


def verify(system: System) -> None:
    """Have the commands look at all keys: they find nothing, either; raises `FindingError`."""
    for command in (["verify"], ["rebuild", "--check"]):
        found = ran([*command, "--json", "--redis-url", system.site.url(0)])
        if found.code != 0:
            raise FindingError(f"{command} ends in {found.code}: {found.out}{found.err}")


def _measure(system: System, chance: random.Random) -> Measured:
    """Let one worker after the other go and come back, with nothing else wrong."""
    with system.client() as client:
        wait_until(lambda: _whole(sample(client, system.keys)))
    causes = [*of_worker(system.layout)]
    with Sampler(system.site) as sampler:
        absences = [
            _absence(system, sampler, cause, chance.randrange(WORKERS))
            for cause in chance.sample(causes, len(causes))
        ]
    return Measured(system.pace, sampler.samples, absences)


def _absence(system: System, sampler: Sampler, cause: faults.WorkerFault, number: int) -> Absence:
    """Let a worker be away until others have what it had; wait until it, or another, is back."""
    name = system.workers[number].name
    within = system.pace.ttl / 1000 + 15
    began = time.monotonic()

    def taken_over() -> bool:
        now = sampler.last
        return now.at > began and not {None, name} & {*now.owners}

    with cause(system, number):
        wait_until(taken_over, within=within)
    wait_until(lambda: _whole(sampler.last), within=within)
    return Absence(faults.name(cause), name, began, sampler.last.at)


def _whole(now: Sample) -> bool:
    return len(now.workers) == WORKERS and now.balanced
