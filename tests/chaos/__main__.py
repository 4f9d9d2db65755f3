"""`python -m tests.chaos`: rounds of faults on real processes, compared with the model."""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.chaos.round import Report, play
from tests.chaos.sites import LAYOUTS
from tests.chaos.system import FindingError, Pace
from tests.chaos.timings import table, timings
from tests.servers import binaries

DEFAULTS = Pace(ttl=10_000, heartbeat=500)
"""As in `config/worker.toml`: measured once, for it takes long."""
QUICK = Pace(ttl=2_000, heartbeat=200)

MIXED = 12.0
"""Seconds of harm in each round but the first."""
ROUND = 30.0
"""Seconds that such a round takes, with all that is before and after the harm."""


def rounds(seconds: float) -> Iterator[tuple[int, Pace, float]]:
    """Yield number, pace and seconds of harm of each round, as long as there is time."""
    began = time.monotonic()
    yield 0, DEFAULTS, 0.0
    number = 1
    while number == 1 or time.monotonic() - began + ROUND <= seconds:
        yield number, QUICK, MIXED
        number += 1


def line(number: int, report: Report, seconds: float) -> str:
    """Say what a round did and found."""
    done = ", ".join(f"{times} {name}" for name, times in sorted(report.faults.items()))
    return (
        f"round {number}: {seconds:.0f} s, {report.faults.total()} faults, {report.kills} kills "
        f"({done}); {report.checked.events:,} events, {report.checked.forwards:,} forwards, "
        f"{report.checked.effects:,} effects: ok"
    )


def conclude(seed: int, reports: Sequence[Report]) -> bool:
    """Print the timings and what was counted; tell whether every target was held."""
    by_pace = timings([report.measured for report in reports])
    print(*table(by_pace), sep="\n")
    print(
        f"seed {seed}: 0 lost, 0 doubled, 0 reordered in {len(reports)} rounds: "
        f"{sum(report.kills for report in reports)} kills, "
        f"{sum(report.checked.events for report in reports):,} events, "
        f"{sum(report.checked.forwards for report in reports):,} forwards, "
        f"{sum(report.checked.effects for report in reports):,} effects checked"
    )
    return all(figure.held for found in by_pace.values() for figure in found)


def interruptible() -> None:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, so that all that was started is ended."""

    def interrupt(*_: object) -> None:
        # Once: a terminal that is closed may say so twice, which would interrupt the ending.
        for number in numbers:
            signal.signal(number, lambda *_: None)
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under `nohup`
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, interrupt)


def main() -> int:
    """Run rounds until the time is over or something is found; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="default: 300")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--layout", choices=LAYOUTS, default="single", help="default: single")
    parser.add_argument("--server", choices=binaries(), default="valkey")
    options = parser.parse_args()
    interruptible()
    print(
        f"seed {options.seed}, {options.layout} on {options.server}, {options.seconds:g} s",
        flush=True,
    )
    reports = []
    for number, pace, mixed in rounds(options.seconds):
        began = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        seed = f"{options.seed}/{number}"
        try:
            report = play(
                binaries()[options.server], folder, seed, pace, mixed=mixed, layout=options.layout
            )
        except (FindingError, AssertionError):
            traceback.print_exc()
            print(f"seed {options.seed}: round {number} failed; its data and logs are in {folder}")
            return 1
        shutil.rmtree(folder)
        print(line(number, report, time.monotonic() - began), flush=True)
        reports.append(report)
    return 0 if conclude(options.seed, reports) else 1


if __name__ == "__main__":
    sys.exit(main())
