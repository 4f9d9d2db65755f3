"""The tracker and its alternatives at one shape, one process each, in one set of rounds.

Throughput is that of draining a backlog, the start included; whoever leaves a task in a wrong
phase is not quoted. Latency is from XADD to the key that shows the update. Those that are not the
tracker's equals drain fewer events, and are compared on the embedded server only.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version as installed
from pathlib import Path

import redis
from msgspec import Struct

from tests.bench.drain import BASE, Backlog, Drain, check_statuses, figures
from tests.bench.latency import Times, publish_by
from tests.bench.loops import BY_HAND, NAIVE, NOTHING, TRACKER, command
from tests.bench.picture import RATE, Row
from tests.bench.processes import (
    EMBEDDED,
    ROOT,
    Plan,
    figures_of,
    interleaved,
    say,
    serve,
    version,
    worker,
)
from tests.bench.report import Report, compared, median
from tests.bench.workload import Workload

FOLDER = ROOT / ".venv-peers"
"""Where the Makefile installs the peers: the tracker and its tests depend on none of them."""

REQUIREMENTS = Path(__file__).with_name("peers.txt")

MEASURED, SHORTEST = 3.0, 0.5
"""Seconds of latency in each round; and in a trial."""

KEEPS = {
    TRACKER: "order, exactly-once effect, retries, index, counts, change feed, rejections",
    BY_HAND: "the status, retries; no order with several consumers",
    NOTHING: "nothing",
    "FastStream": "the status, retries; what it had read when it crashed waits for another "
    "subscriber that claims it; no order with several consumers",
    "Celery events": "10,000 tasks, in memory only; publishes no key; loses events while nobody "
    "listens",
    NAIVE: "the status, retries; never applies what it had read when it crashed; no order with "
    "several consumers; a core is always busy, for it does not wait",
}


class Found(Struct, frozen=True):
    """What one round gave."""

    drain: Drain
    times: Times | None = None


def versions() -> dict[str, str]:
    """Return the version of each contender, or of what it is written with."""
    lines = REQUIREMENTS.read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    named = {TRACKER: installed("status-tracker"), "FastStream": pinned["faststream"]}
    return {**named, "Celery events": pinned["celery"]}


def contenders(kind: str, url: str, plan: Plan) -> dict[str, Callable[[], Found]]:
    """Return who can be compared here. The backlogs give each a second or two of draining."""
    seconds = max(SHORTEST, MEASURED * plan.scale)
    partitions = Workload().partitions
    python = FOLDER / "bin" / "python"

    def sized(events: int) -> Backlog:
        return Backlog(url, Workload(plan.sized(events)))

    def times(*publisher: str) -> Times:
        return publish_by(url, publisher, [RATE], seconds)[RATE]

    def script(name: str) -> list[str]:
        return [str(python), "-s", "-m", f"tests.bench.{name}_peer"]

    def tracker() -> Found:
        return Found(backlog.drain(TRACKER), times(*worker(url, partitions, linger="0ms")))

    def naive() -> Found:
        endless = command(NAIVE, url, sys.maxsize, partitions)
        return Found(sized(20_000).drain(NAIVE), times(*endless))

    def faststream() -> Found:
        own = sized(100_000)
        own.reset()
        rate = figures_of([*script("faststream"), url, str(own.workload.events)])["rate"]
        check_statuses(own.client, own.workload)
        return Found(Drain(rate), times(*script("faststream"), url))

    def celery() -> Found:
        # All events wait at the server, which cuts off a subscriber that is 32 MB behind.
        rate = figures_of([*script("celery"), url, str(plan.sized(20_000)), "0"])["rate"]
        # It publishes no key, so it measures itself.
        took = figures_of([*script("celery"), url, str(round(RATE * seconds)), str(RATE)])
        return Found(Drain(rate), Times(**took))

    backlog = sized(400_000)
    found: dict[str, Callable[[], Found]] = {TRACKER: tracker}
    for name in (BY_HAND, NOTHING):
        found[name] = partial(lambda name: Found(backlog.drain(name)), name)
    if kind == EMBEDDED:
        if plan.peers and (FOLDER / ".ready").exists():
            found |= {"FastStream": faststream, "Celery events": celery}
        else:
            say("without FastStream and Celery, which `make bench` installs where it can")
        found[NAIVE] = naive
    return found


def measure(kind: str, plan: Plan) -> Report:
    """Measure everybody, in turns."""
    with serve(kind) as url:
        rounds = interleaved(plan, contenders(kind, url, plan), _spell)
        report = Report(version(url))
    drains = {name: [found.drain for found in rounds[name]] for name in rounds}
    ours, nothing = ([drain.rate for drain in drains[name]] for name in (TRACKER, NOTHING))
    report.figures = figures(BASE, drains[TRACKER], drains[BY_HAND])
    report.figures.append(compared(f"{BASE}: events/s", "", ours, "doing nothing", nothing))
    if kind == EMBEDDED:
        report.rows = [_row(name, found) for name, found in rounds.items()]
    return report


def _spell(found: Found) -> str:
    times = found.times
    latency = f" p50 {times.p50:.2f} p99 {times.p99:.2f} ms" if times else ""
    return f"{found.drain.rate:,.0f}/s{latency}"


def _row(name: str, rounds: Sequence[Found]) -> Row:
    rate = median([found.drain.rate for found in rounds])
    times = [found.times for found in rounds if found.times]
    p50 = median([each.p50 for each in times]) if times else None
    p99 = median([each.p99 for each in times]) if times else None
    version = versions().get(name, f"redis-py {redis.__version__}")
    return Row(name, version, rate, KEEPS[name], p50, p99)
