"""What several workers take to drain a backlog, beside one: seconds of CPU, of all of them."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import redis

from tests.bench.drain import LEAST, check, entries
from tests.bench.processes import (
    MEASURABLE,
    Plan,
    await_that,
    connect,
    interleaved,
    running,
    say,
    serve,
    version,
    worker,
)
from tests.bench.rates import process_cpu
from tests.bench.report import Report, compared
from tests.bench.workload import KEYS, Workload, add

FEW, MANY = 1, 4
"""Workers."""

PARTITIONS = 16

GROUP = "tracker"


def dumps(client: redis.Redis, workload: Workload) -> Mapping[str, bytes]:
    """Return the streams of a backlog, with the group that a worker has there."""
    client.flushdb()
    streams = workload.streams()
    for key in streams:
        client.xgroup_create(key, GROUP, "0-0", mkstream=True, entries_read=0)
    add(client, streams, workload.updates())
    found = {key: client.dump(key) for key in streams}
    return {key: dump for key, dump in found.items() if dump}


def owners(client: redis.Redis) -> Counter[bytes]:
    """Return how many partitions each worker has."""
    held: Any = client.mget([KEYS.lease(number) for number in range(PARTITIONS)])
    return Counter(filter(None, held))


def cpu(url: str, backlog: Mapping[str, bytes], workload: Workload, workers: int) -> float:
    """Let workers drain a backlog that comes all at once; return their CPU per event, in µs."""
    with connect(url) as client, ExitStack() as stack:
        client.flushdb()
        command = worker(url, PARTITIONS)
        processes = [stack.enter_context(running(command)) for _ in range(workers)]
        fair = [PARTITIONS // workers] * workers
        await_that(lambda: list(owners(client).values()) == fair, "each worker to have its share")
        before = sum(map(process_cpu, processes))
        for key, dump in backlog.items():
            client.restore(key, 0, dump, replace=True)
        await_that(lambda: entries(client, workload) == workload.events, "the backlog to go")
        used = sum(map(process_cpu, processes)) - before
        check(client, workload)
    return max(LEAST, used) * 1e6 / workload.events


def measure(kind: str, plan: Plan) -> Report:
    """Let one worker and several drain the same, in turns."""
    with serve(kind) as url:
        report = Report(version(url))
        if not MEASURABLE:
            say("the CPU of other processes is not to be had on this system")
            return report
        workload = Workload(plan.sized(800_000), partitions=PARTITIONS)
        with connect(url) as client:
            backlog = dumps(client, workload)
        few, many = f"{FEW} worker", f"{MANY} workers"
        found = interleaved(
            plan,
            {
                name: partial(cpu, url, backlog, workload, number)
                for name, number in ((few, FEW), (many, MANY))
            },
            lambda used: f"{used:.2f} µs of CPU per event",
        )
    label = f"{MANY} workers, {PARTITIONS} partitions"
    report.figures = [compared(f"{label}: CPU per event", "µs", found[many], few, found[few])]
    return report
