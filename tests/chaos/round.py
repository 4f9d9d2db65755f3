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
from tests.chaos.schedule import KILLS, Step, schedule
from tests.chaos.system import KEYS, FindingError, Pace, System
from tests.chaos.timings import Absence, Measured
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


def play(binary: Path, folder: Path, seed: str, pace: Pace, *, mixed: float) -> Report:
    """Measure a fleet in a calm time, then mix faults for so many seconds, and compare.

    Raises `FindingError` for whatever is not as it must be then.
    """
    chance = random.Random(seed)
    flush = chance.random() < 0.25
    steps = schedule(seed, WORKERS, pace, mixed, flush=flush)
    with System(binary, folder, workers=WORKERS, pace=pace) as system:
        with producing(system.server, chance.randrange(10**9), CALM_RATE) as producer:
            measured = _measure(system, chance)
            producer.rate = MIXED_RATE
            harm(system, steps)
        settle(system)
        done = Counter(step.name for track in steps for step in track)
        done.update(absence.fault for absence in measured.absences)
        flushed = bool(done["database flushed"])
        with system.client() as client:
            checked = check(client, producer.added, flushed=flushed)
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
    """Wait until everything is read, and stop the workers."""
    with system.client() as client:
        # Twice: while the first look goes on, a later partition may forward to an earlier one.
        try:
            wait_until(
                lambda: drained(client, KEYS) and drained(client, KEYS), within=SETTLES_WITHIN
            )
        except AssertionError:
            raise FindingError(
                f"after {SETTLES_WITHIN:g} s there is still something to read:\n"
                f"{system.log[-5000:]}"
            ) from None
    system.stop_workers()


def _measure(system: System, chance: random.Random) -> Measured:
    """Let one worker after the other go and come back, with nothing else wrong."""
    with system.client() as client:
        wait_until(lambda: _whole(sample(client)))
    causes = [
        faults.worker_killed,
        faults.worker_stopped,
        faults.worker_frozen,
        # Here, where no other fault takes the connection from the commit that waits.
        faults.worker_held_up,
    ]
    with Sampler(system.server) as sampler:
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
