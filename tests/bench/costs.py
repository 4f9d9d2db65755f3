"""What a worker costs: the time until it is at work, its memory and the server's."""

import time
from collections.abc import Callable
from functools import partial

import msgspec
import redis

from tests.bench.drain import Backlog, check, entries, write
from tests.bench.loops import TRACKER
from tests.bench.processes import (
    MEASURABLE,
    Plan,
    await_that,
    connect,
    memory,
    running,
    say,
    serve,
    version,
    worker,
)
from tests.bench.report import Figure, Report, compared, median
from tests.bench.workload import OWN, Task, Workload, add, outcome, pieces, status_key

STARTS = 3
"""Per round: they are short, and the first ones find files that are not in memory yet."""

SLICE = 20_000
"""Updates that come in one transaction, so that batches are as large as they get, and with the
reads ahead of them."""


NOISE = 4_096
"""Bytes by which two readings may differ, a second apart: by then the server has moved hash tables
that had grown, and freed what was deleted."""


def measure(kind: str, plan: Plan) -> Report:
    """Start a worker time and again, look at one for long, and at what it leaves."""
    with serve(kind) as url:
        report = Report(version(url))
        started = [until_first_event(url) for _ in range(STARTS * plan.rounds)]
    report.figures = [Figure("worker, from exec to its first commit", "s", median(started))]
    report.figures.append(server_memory(kind, plan))
    if MEASURABLE:
        report.figures += worker_memory(kind, plan)
    else:
        say("the memory of other processes is not to be had on this system")
    return report


def until_first_event(url: str) -> float:
    """Return the seconds from exec until a worker on an empty server has committed an event."""
    workload = Workload(events=1)
    with connect(url) as client:
        client.flushdb()
        add(client, workload.streams(), workload.updates())
        [(task, _)] = workload.moves()
        began = time.perf_counter()
        with running(worker(url, workload.partitions)):
            await_that(lambda: bool(client.exists(status_key(task))), "a first event", every=0.005)
            return time.perf_counter() - began


def worker_memory(kind: str, plan: Plan) -> list[Figure]:
    """Return what a worker takes with many tasks in flight, at its most and after many updates.

    After a fifth of them there were five for each place in flight: all but one in 150 were seen.
    """
    workload = Workload(plan.sized(5_000_000), plan.sized(200_000))
    sizes, fed = [], 0
    with serve(kind) as url, connect(url) as client:
        with running(worker(url, workload.partitions)) as process:
            for some in pieces(workload.updates(), SLICE):
                pipeline = client.pipeline()
                for partition, data in some:
                    stream = workload.streams()[partition]
                    pipeline.xadd(stream, {"data": data}, maxlen=SLICE)
                pipeline.execute()
                fed += len(some)
                await_that(partial(_drained, client, workload, fed), "a slice to be drained")
                sizes.append(memory(process, "VmRSS"))
            most = memory(process, "VmHWM")
        check(client, workload)
    what = "worker's memory, 200,000 in flight"
    early, late = sizes[len(sizes) // 5], sizes[-1]
    return [
        compared(f"{what}: after 5M events", "MB", [late], "after 1M", [early]),
        Figure(f"{what}: at its most", "MB", round(most, 1)),
    ]


def _drained(client: redis.Redis, workload: Workload, events: int) -> bool:
    return entries(client, workload) >= events


def server_memory(kind: str, plan: Plan) -> Figure:
    """Let the tracker write entities, and write the same documents by SET and ZADD."""
    workload = Workload(plan.sized(800_000))
    tasks: list[Task] = []

    def by_tracker(client: redis.Redis) -> None:
        backlog.drain(TRACKER)
        backlog.client.close()
        for some in pieces(outcome(workload)):
            texts: list[bytes] = client.mget([status_key(task) for task in some])  # type: ignore[assignment]
            for task, text in zip(some, texts, strict=True):
                tasks.append(Task(task, msgspec.json.decode(text)["phase"], text))
        # What is capped or trimmed is nobody's but the deployment's.
        client.delete(OWN.changes, *workload.streams())

    def by_hand(client: redis.Redis) -> None:
        for some in pieces(tasks):
            write(client, some)

    with serve(kind) as url:
        # Once before, for what the server keeps of a worker however many entities there are.
        Backlog(url, Workload(1_000)).drain(TRACKER)
        backlog = Backlog(url, workload)
        backlog.client.close()  # it connects again when it is needed
        used = [_growth(url, fill) / len(outcome(workload)) for fill in (by_tracker, by_hand)]
    return compared("server's memory per entity", "bytes", used[:1], "SET and ZADD", used[1:])


def _growth(url: str, fill: Callable[[redis.Redis], None]) -> int:
    """Return by how many bytes something fills an empty server."""
    with connect(url) as client:
        client.flushdb(asynchronous=False)
    before = _settled(url)
    with connect(url) as client:
        fill(client)
    return _settled(url) - before


def _settled(url: str) -> int:
    """Return the bytes in use, when nothing is moved about or freed any more.

    Nobody else may be connected: buffers of a client are memory, too.
    """
    last = -NOISE
    with connect(url) as client:
        while True:
            used = int(client.info("memory")["used_memory"])
            if abs(used - last) < NOISE:
                return used
            last = used
            time.sleep(1)
