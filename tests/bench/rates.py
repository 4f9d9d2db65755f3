"""What it costs at the rates that people have: cores and latency, beside a loop by hand.

`python -m tests.bench.rates` measures alone, with `--beside CHECKOUT` another commit's worker, too,
in the same rounds. Cores are those that a process keeps busy: the worker or loop, and the server
with all that it does, the taking in of the updates and the append-only file included.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

if not __package__:
    # Run as a file: Python then looks beside it, and not in the checkout.
    sys.path[0] = str(Path(__file__).parents[2])

from tests.bench.latency import FIRST, SHORTEST, observe, ticks
from tests.bench.loops import BY_EVENT, TRACKER, command
from tests.bench.processes import (
    MEASURABLE,
    PROC,
    Plan,
    await_that,
    connect,
    interleaved,
    interruptible,
    running,
    say,
    serve,
    server_cpu,
    version,
    worker,
)
from tests.bench.report import Figure, Report, compared, rates_of
from tests.bench.workload import Workload, add, status_key
from tests.servers import binaries

RATES = [100, 1_000, 2_000, 10_000]
"""Updates per second."""

PARTITIONS = [4, 16, 64]

MEASURED = 4.0
"""Seconds at each rate, in each round."""

SAMPLES = 200
"""Updates per second that are watched at most; no more than every tenth."""

LEAST = 1e-4
"""Cores that are told from none."""

QUIET = 5.0
"""Seconds for which an idle worker is looked at."""

WITHOUT_LINGER = "linger 0ms"
BEFORE = "before"

COMPARED = {
    "worker's cores": "own",
    "server's cores": "server",
    "p50": "p50",
    "p99": "p99",
}


class Cost(Struct, frozen=True):
    """What one contender took at one rate."""

    own: float
    """Cores that its process kept busy."""
    server: float
    p50: float
    """Milliseconds from XADD until the key shows the update."""
    p99: float


def process_cpu(process: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost(
    url: str, contender: Sequence[str], partitions: int, rates: Sequence[int], seconds: float
) -> dict[int, Cost]:
    """Let a contender apply updates at each rate."""
    first = Workload(FIRST, partitions=partitions)
    keys = {status_key(task) for task, _ in first.moves()}
    found = {}
    with connect(url) as client:
        client.flushdb()
        with running(contender) as process:
            add(client, first.streams(), first.updates())
            await_that(lambda: client.exists(*keys) == len(keys), "the first updates to show")
            for rate in rates:
                samples = min(SAMPLES, max(1, rate // 10))
                sent = list(ticks(rate, seconds, partitions=partitions, samples=samples))
                began, own, server = time.perf_counter(), process_cpu(process), server_cpu(client)
                times = observe(url, sent)
                took = time.perf_counter() - began
                own, server = process_cpu(process) - own, server_cpu(client) - server
                found[rate] = Cost(own / took, server / took, times.p50, times.p99)
    return found


def idle(url: str, contender: Sequence[str], partitions: int, seconds: float) -> dict[str, float]:
    """Return the commands per second that a worker sends with nothing to do, and its cores."""
    first = Workload(FIRST, partitions=partitions)
    keys = {status_key(task) for task, _ in first.moves()}
    with connect(url) as client:
        client.flushdb()
        with running(contender) as process:
            add(client, first.streams(), first.updates())
            await_that(lambda: client.exists(*keys) == len(keys), "the first updates to show")
            time.sleep(1)
            began, own, server = time.perf_counter(), process_cpu(process), server_cpu(client)
            commands = 0
            # The server tells of each command; what a script calls is marked as such.
            with client.monitor() as monitor:
                monitor.connection._sock.settimeout(seconds)
                while (took := time.perf_counter() - began) < seconds:
                    try:
                        commands += monitor.next_command()["client_type"] != "lua"
                    except (TimeoutError, OSError):
                        break
            own, server = process_cpu(process) - own, server_cpu(client) - server
    return {"commands": commands / took, "own": own / took, "server": server / took}


def contenders(url: str, partitions: int, beside: Path | None) -> Mapping[str, Sequence[str]]:
    """Return the commands of those that are compared."""
    ours = worker(url, partitions)
    found = {
        BY_EVENT: command(BY_EVENT, url, sys.maxsize, partitions),
        TRACKER: ours,
        WITHOUT_LINGER: worker(url, partitions, linger="0ms"),
    }
    if beside is not None:
        old = [sys.executable, "-m", "status_tracker", *ours[1:]]
        found[BEFORE] = ["env", f"PYTHONPATH={beside / 'worker'}", *old]
    return found


def _spelled(costs: Mapping[int, Cost]) -> str:
    return "; ".join(
        f"{rate}/s {each.own:.2f} / {each.server:.2f}, {each.p50:.1f} to {each.p99:.1f} ms"
        for rate, each in costs.items()
    )


def measure(
    kind: str,
    plan: Plan,
    *,
    partitions: Sequence[int] = PARTITIONS,
    rates: Sequence[int] = RATES,
    beside: Path | None = None,
) -> Report:
    """Let all apply updates at each rate, in turns, and look at an idle worker.

    A short trial is of the fewest partitions only, and at the two lowest rates.
    """
    seconds = max(SHORTEST, MEASURED * plan.scale)
    if plan.scale <= 0.1:
        partitions, rates = partitions[:1], rates[:2]
    figures: list[Figure] = []
    for number in partitions:
        with serve(kind) as url:
            report = Report(version(url))
            if not MEASURABLE:
                say("the CPU of other processes is not to be had on this system")
                return report
            say(f"{number} partitions")
            compete = contenders(url, number, beside)
            found = interleaved(
                plan,
                {
                    name: partial(cost, url, each, number, rates, seconds)
                    for name, each in compete.items()
                },
                _spelled,
            )
            others = [name for name in compete if name != BY_EVENT]
            figures += [
                figure
                for name in others
                for rate in rates
                for figure in _figures(number, rate, name, found)
            ]
            figures += _idle(number, url, compete[TRACKER], seconds)
    report.figures = figures
    return report


def _figures(
    partitions: int, rate: int, name: str, found: Mapping[str, Sequence[Mapping[int, Cost]]]
) -> list[Figure]:
    """Return what is compared of one contender with the loop by hand, at one rate."""
    which = "" if name == TRACKER else f", {name}"
    figures = []
    for what, field in COMPARED.items():
        ours, theirs = (
            [max(LEAST, getattr(costs[rate], field)) for costs in found[each]]
            for each in (name, BY_EVENT)
        )
        unit = "ms" if what.startswith("p") else "cores"
        label = f"{rate:,}/s, {partitions} partitions{which}: {what}"
        figures.append(compared(label, unit, ours, BY_EVENT, theirs))
    return figures


def _idle(partitions: int, url: str, contender: Sequence[str], seconds: float) -> list[Figure]:
    found = idle(url, contender, partitions, max(QUIET * seconds / MEASURED, 1.0))
    units = {"commands": "/s", "own": "cores", "server": "cores"}
    return [
        Figure(f"idle, {partitions} partitions: {what}", units[what], round(max(LEAST, value), 4))
        for what, value in found.items()
    ]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the seconds at each rate")
    parser.add_argument("--server", choices=binaries(), help="default: all")
    parser.add_argument("--partitions", type=int, nargs="+", default=PARTITIONS)
    parser.add_argument("--rates", type=int, nargs="+", default=RATES)
    parser.add_argument("--beside", type=Path, help="a checkout whose worker is measured, too")
    options = parser.parse_args()
    interruptible()
    for kind in [options.server] if options.server else binaries():
        print(kind, flush=True)
        report = measure(
            kind,
            Plan(options.rounds, options.scale),
            partitions=options.partitions,
            rates=options.rates,
            beside=options.beside,
        )
        print("", *rates_of(report), "", sep="\n", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
