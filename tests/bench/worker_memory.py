"""How much memory a worker takes, and whether that stays so."""

from collections.abc import Iterator
from itertools import islice

import redis

from tests.bench.figures import Figure, Report
from tests.bench.kinds import Kind, connect, version
from tests.bench.processes import MEASURABLE, await_that, memory, running, settled, worker
from tests.bench.rounds import Plan, say
from tests.bench.tracker import check, entries
from tests.bench.workload import Workload, add

SLICE = 250_000
"""Updates that come at once: a backlog, so that batches are as large as they get."""


def measure(kind: Kind, plan: Plan) -> Report:
    """Look at a worker with many tasks in flight, and at one with many updates behind it."""
    with kind.serve() as url:
        report = Report(version(url), kind.append_only)
    if not MEASURABLE:
        say("the memory of other processes is not to be had on this system")
        return report
    report.figures = [_with_many_in_flight(kind, plan), _after_many_events(kind, plan)]
    return report


def _with_many_in_flight(kind: Kind, plan: Plan) -> Figure:
    in_flight = plan.sized(200_000)
    # Five updates for each place in flight: all but one in 150 have come by then.
    workload = Workload(5 * in_flight, in_flight)
    *_, (_, process_peak) = resident(kind, workload, plan.sized(SLICE))
    return Figure(
        "worker: memory at its most, 200,000 in flight",
        "worker_memory",
        process_peak,
        "MB",
        target=150.0,
        at_least=False,
        detail=f"VmHWM after {workload.events:,} events",
    )


def _after_many_events(kind: Kind, plan: Plan) -> Figure:
    workload = Workload(plan.sized(5_000_000))
    slices = [now for now, _ in resident(kind, workload, plan.sized(SLICE))]
    early, late = slices[max(0, len(slices) // 5 - 1)], slices[-1]
    return Figure(
        "worker: memory after 5M events, beside 1M",
        "worker_memory_flat",
        late / early,
        target=1.1,
        at_least=False,
        detail=f"VmRSS {late:.1f} and {early:.1f} MB",
    )


def resident(kind: Kind, workload: Workload, at_once: int) -> Iterator[tuple[float, float]]:
    """Let one worker drain a workload, slice by slice; yield after each its MB now and at most."""
    with kind.serve() as url, connect(url) as client:
        with running(worker(url, workload)) as [process]:
            await_that(lambda: settled(client, workload, 1), "the worker to start")
            updates = workload.updates()
            fed = 0
            while fed < workload.events:
                fed += appear(client, workload, islice(updates, at_once))
                done = lambda: entries(client, workload) >= fed  # noqa: B023, E731
                await_that(done, "a slice to be drained", within=120)
                now, most = memory(process, "VmRSS"), memory(process, "VmHWM")
                say(f"{fed:,} events: {now:.1f} MB, {most:.1f} MB at its most")
                yield now, most
        check(client, workload)


def appear(client: redis.Redis, workload: Workload, updates: Iterator[tuple[int, bytes]]) -> int:
    """Let updates appear all at once, in place of those that were read; return how many."""
    streams = workload.streams()
    aside = [f"aside:{stream}" for stream in streams]
    number = add(client, aside, updates)
    pipeline = client.pipeline()
    for filled, stream in zip(aside, streams, strict=True):
        if client.exists(filled):
            pipeline.rename(filled, stream)
    pipeline.execute()
    return number
