"""What an event costs where several workers share the partitions."""

from functools import partial

from tests.bench.drain import Backlog
from tests.bench.figures import Report, ratio
from tests.bench.kinds import Kind, version
from tests.bench.processes import (
    MEASURABLE,
    await_that,
    cpu_seconds,
    running,
    settled,
    worker,
)
from tests.bench.rounds import Plan, interleaved, say
from tests.bench.tracker import check, entries
from tests.bench.workload import Workload

ONE = "1 worker"
FOUR = "4 workers"

SMALLEST = 0.01
"""Seconds of CPU that the system tells apart."""


def cpu_of(backlog: Backlog, workers: int) -> float:
    """Give workers that wait a backlog; return the seconds of CPU that they take for it in all."""
    client, workload = backlog.client, backlog.workload
    client.flushdb()
    with running(worker(backlog.url, workload), workers) as ids:
        await_that(
            lambda: settled(client, workload, workers), "the workers to share the partitions"
        )
        before = sum(map(cpu_seconds, ids))
        pipeline = client.pipeline()
        for key, dump in backlog.dumps.items():
            pipeline.restore(key, 0, dump, replace=True)
        pipeline.execute()
        done = lambda: entries(client, workload) >= workload.events  # noqa: E731
        await_that(done, "the backlog to be drained", within=120)
        used = sum(map(cpu_seconds, ids)) - before
    check(client, workload)
    return max(used, SMALLEST)


def measure(kind: Kind, plan: Plan) -> Report:
    """Let one worker drain the backlog, and four."""
    with kind.serve() as url:
        report = Report(version(url), kind.append_only)
        if not MEASURABLE:
            say("the CPU time of other processes is not to be had on this system")
            return report
        backlog = Backlog.on(url, Workload(plan.sized(400_000)))
        used = interleaved(
            plan,
            {ONE: partial(cpu_of, backlog, 1), FOUR: partial(cpu_of, backlog, 4)},
            lambda seconds: f"{seconds:.2f} s",
        )
    name = f"CPU per event, {FOUR} beside 1"
    figure = ratio(name, "fleet_cpu", used[FOUR], used[ONE], target=1.15, at_least=False)
    report.figures.append(figure)
    return report
