"""How soon an update shows in its key, beside the loop that is quickest to publish."""

import statistics
import sys
from collections.abc import Iterator, Sequence
from functools import partial

from msgspec import Struct

from tests.bench.figures import Figure, Report, ratio
from tests.bench.kinds import Kind, connect, version
from tests.bench.observer import observe, prepare
from tests.bench.processes import await_that, running, worker
from tests.bench.rounds import Plan, interleaved
from tests.bench.tracker import status_key
from tests.bench.workload import Workload

TRACKER = "status tracker"
SIMPLE = "XREAD + SET"

RATES = [2_000, 10_000]
"""Updates per second."""

MEASURED = 4.0
"""Seconds at each rate, in each round."""
SHORTEST = 0.4

WARM_UP = 0.5
"""Seconds at each rate that are not measured."""

SAMPLES = 400
"""Updates per second that are watched: enough for a 99th percentile, and no load."""

FIRST = 200
"""Updates that are sent before, for a contender to be at work on every partition."""


class Times(Struct, frozen=True):
    """Milliseconds from just before XADD is sent until the key shows the update."""

    p50: float
    p99: float


def times(seconds: Sequence[float]) -> Times:
    """Return the percentiles of what was measured."""
    ordered = sorted(1000 * each for each in seconds)
    return Times(statistics.median(ordered), ordered[int(len(ordered) * 0.99)])


def publish_by(url: str, command: Sequence[str], measured: float) -> dict[int, Times]:
    """Let a contender publish updates at each rate."""
    with connect(url) as client:
        client.flushdb()
        with running(command):
            first = Workload(FIRST)
            streams = first.streams()
            for partition, data in first.updates():
                client.xadd(streams[partition], {"data": data})
            keys = {status_key(task) for task, _ in first.moves()}
            await_that(lambda: client.exists(*keys) == len(keys), "the first updates to show")
            return {rate: publish_at(url, rate, measured) for rate in RATES}


def publish_at(url: str, rate: int, measured: float) -> Times:
    """Send updates at a rate for so many seconds, and say how soon they showed."""
    workload = Workload(round(rate * (WARM_UP + measured)), seed=rate)
    ticks = prepare(workload, rate, every=rate // SAMPLES, skip=round(rate * WARM_UP))
    return times(observe(url, list(ticks)))


def spell(found: dict[int, Times]) -> str:
    """Say what came out of a round."""
    return ", ".join(
        f"at {rate:,}/s p50 {at.p50:.2f} p99 {at.p99:.2f} ms" for rate, at in found.items()
    )


def measure(kind: Kind, plan: Plan) -> Report:
    """Let both publish at each rate, in turns."""
    measured = max(SHORTEST, MEASURED * plan.scale)
    with kind.serve() as url:
        simple = [sys.executable, "-m", "tests.bench.simple", url, str(Workload().partitions)]
        commands = {SIMPLE: simple, TRACKER: worker(url, Workload())}
        found = interleaved(
            plan,
            {
                name: partial(publish_by, url, command, measured)
                for name, command in commands.items()
            },
            spell,
        )
        report = Report(version(url), kind.append_only)
    for rate in RATES:
        at = {name: [each[rate] for each in rounds] for name, rounds in found.items()}
        report.latency[str(rate)] = {name: _medians(each) for name, each in at.items()}
        report.figures += _figures(rate, at[TRACKER], at[SIMPLE])
    return report


def _medians(rounds: Sequence[Times]) -> dict[str, float]:
    return {
        "p50": round(statistics.median(each.p50 for each in rounds), 3),
        "p99": round(statistics.median(each.p99 for each in rounds), 3),
    }


def _figures(rate: int, ours: Sequence[Times], theirs: Sequence[Times]) -> Iterator[Figure]:
    for name in ("p50", "p99"):
        measured = [float(getattr(each, name)) for each in ours]
        beside = [float(getattr(each, name)) for each in theirs]
        figure = ratio(
            f"latency at {rate:,}/s, {name}",
            f"latency_{rate}_{name}",
            measured,
            beside,
            target=2.0,
            at_least=False,
        )
        pair = f"{statistics.median(measured):.2f} ms, {SIMPLE} {statistics.median(beside):.2f} ms"
        figure.detail = f"{pair}; {figure.detail}"
        yield figure
