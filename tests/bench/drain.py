"""How fast a backlog is drained, and for how much CPU, beside the loop by hand at each shape."""

import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import msgspec
import redis
from msgspec import Struct

from tests.bench.loops import BY_HAND, NOTHING, TRACKER, WITH_HISTORY, drain_alone
from tests.bench.processes import Plan, connect, interleaved, serve, server_cpu, version
from tests.bench.report import Figure, Report, compared
from tests.bench.workload import (
    KEYS,
    OWN,
    STEPS,
    Task,
    Workload,
    add,
    outcome,
    phases,
    pieces,
    status_key,
)

BASE = "2,000 in flight, 4 partitions"
"""The shape from which each other differs in one thing; peers.py measures it."""

SHAPES = {
    "200,000 in flight": Workload(in_flight=200_000, under_way=True),
    "1 partition": Workload(partitions=1),
    "64 partitions": Workload(partitions=64),
    "2,000,000 stored": Workload(stored=2_000_000),
}

LEAST = 1e-6
"""Seconds that a server uses at least, for trials too short to be told from nothing."""


class Drain(Struct, frozen=True):
    """What one drain came to."""

    rate: float
    """Events per second."""
    process: float = 0.0
    """CPU of the loop's process, in µs per event."""
    server: float = 0.0
    """The same of the server."""


class Backlog:
    """A workload on a server, which each contender drains from the start."""

    def __init__(self, url: str, workload: Workload) -> None:
        self.url = url
        self.client = connect(url)
        self.workload = workload
        self.client.flushdb()
        self._began = int(time.time() * 1000)
        streams = workload.streams()
        add(self.client, streams, workload.updates())
        # To restore them takes a moment, whatever their length.
        dumps = {key: self.client.dump(key) for key in streams}
        self._dumps = {key: dump for key, dump in dumps.items() if dump}
        if workload.stored:
            store(self.client, workload, self._began)

    def drain(self, name: str) -> Drain:
        """Let one of our loops drain it, and look whether it did."""
        self.reset()
        before = server_cpu(self.client)
        rate, cpu = drain_alone(name, self.url, self.workload)
        used = max(LEAST, server_cpu(self.client) - before)
        if name in (TRACKER, WITH_HISTORY):
            check(self.client, self.workload)
        elif name != NOTHING:
            check_statuses(self.client, self.workload)
        per_event = 1e6 / self.workload.events
        return Drain(rate, cpu * per_event, used * per_event)

    def reset(self) -> None:
        """Bring everything to where it is before a drain."""
        if self.workload.stored:
            self._take_back()
        else:
            self.client.flushdb()
            store(self.client, self.workload, self._began)
        for key, dump in self._dumps.items():
            self.client.restore(key, 0, dump)

    def _take_back(self) -> None:
        """Remove what a drain made: to store millions anew would take longer than to drain."""
        for some in pieces(outcome(self.workload)):
            pipeline = self.client.pipeline(transaction=False)
            pipeline.delete(*map(status_key, some))
            for phase in set(STEPS):
                pipeline.zrem(OWN.phase("task", phase), *some)
            pipeline.execute()
        made = [OWN.changes, OWN.rejected]
        for number in range(self.workload.partitions):
            made += [KEYS.partition(number).partition, KEYS.events(number), KEYS.lease(number)]
        self.client.delete(*made)
        _count(self.client, self.workload)


def store(client: redis.Redis, workload: Workload, at: int) -> None:
    """Write what the tracker would have left before the backlog, which begins at a time."""
    for some in pieces(workload.tasks_before(at)):
        write(client, some)
    _count(client, workload)


def write(client: redis.Redis, tasks: Sequence[Task]) -> None:
    """Write tasks' documents, and their ids into the sets of their phases."""
    client.mset({status_key(task.id): task.document for task in tasks})
    entered: dict[str, dict[str, int]] = defaultdict(dict)
    for task in tasks:
        entered[task.phase][task.id] = task.at
    for phase, ids in entered.items():
        client.zadd(OWN.phase("task", phase), ids)


def _count(client: redis.Redis, workload: Workload) -> None:
    client.delete(OWN.counts("task"))
    for phase, number in phases(msgspec.structs.replace(workload, events=0)).items():
        client.hset(OWN.counts("task"), phase, str(number))


def entries(client: redis.Redis, workload: Workload) -> int:
    """Return how many entries the partitions' cursors have passed."""
    own = [KEYS.partition(number).partition for number in range(workload.partitions)]
    return sum(int(client.hget(key, "entries") or 0) for key in own)


def check(client: redis.Redis, workload: Workload) -> None:
    """Refuse to quote a rate for work that was not done."""
    check_statuses(client, workload)
    wanted = dict(phases(workload))
    counts = {phase: int(client.hget(OWN.counts("task"), phase) or 0) for phase in wanted}
    indexed = {phase: client.zcard(OWN.phase("task", phase)) for phase in wanted}
    read, rejected = entries(client, workload), client.xlen(OWN.rejected)
    if (read, rejected, counts, indexed) != (workload.events, 0, wanted, wanted):
        raise SystemExit(
            f"wrong work: {read=} of {workload.events}, {rejected=}, {counts=}, {indexed=}, "
            f"should be {wanted}"
        )


def check_statuses(client: redis.Redis, workload: Workload) -> None:
    """Refuse where a task's document is not of the phase that its last update told of."""
    for some in pieces(outcome(workload).items()):
        documents = client.mget([status_key(task) for task, _ in some])
        for (task, step), document in zip(some, documents, strict=True):
            phase = msgspec.json.decode(document)["phase"] if document else None
            if phase != STEPS[step]:
                raise SystemExit(f"wrong work: {task} is {phase}, not {STEPS[step]}")


def figures(shape: str, ours: Sequence[Drain], theirs: Sequence[Drain]) -> list[Figure]:
    """Return what is compared at each shape."""

    def pair(name: str) -> list[list[float]]:
        return [[getattr(drain, name) for drain in drains] for drains in (ours, theirs)]

    rates, servers, processes = map(pair, ("rate", "server", "process"))
    return [
        compared(f"{shape}: events/s", "", rates[0], "by hand", rates[1]),
        compared(f"{shape}: server's CPU per event", "µs", servers[0], "by hand", servers[1]),
        compared(f"{shape}: process's CPU per event", "µs", processes[0], "by hand", processes[1]),
    ]


def measure(kind: str, plan: Plan) -> Report:
    """Drain by the tracker and by hand, at each shape on a server of its own."""
    found = []
    for shape, workload in SHAPES.items():
        with serve(kind) as url:
            server = version(url)
            backlog = Backlog(url, _scaled(workload, plan))
            contenders = {name: partial(backlog.drain, name) for name in (TRACKER, BY_HAND)}
            drains = interleaved(plan, contenders, lambda drain: f"{drain.rate:,.0f}/s")
        found += figures(shape, drains[TRACKER], drains[BY_HAND])
    return Report(server, [*found, *_history(kind, plan)])


def _history(kind: str, plan: Plan) -> list[Figure]:
    """Drain the first shape with and without a history of each entity."""
    with serve(kind) as url:
        backlog = Backlog(url, _scaled(Workload(), plan))
        contenders = {name: partial(backlog.drain, name) for name in (WITH_HISTORY, TRACKER)}
        drains = interleaved(plan, contenders, lambda drain: f"{drain.rate:,.0f}/s")
    rates = [[drain.rate for drain in drains[name]] for name in (WITH_HISTORY, TRACKER)]
    return [compared("history of 20 changes: events/s", "", rates[0], "without", rates[1])]


def _scaled(workload: Workload, plan: Plan) -> Workload:
    return msgspec.structs.replace(
        workload,
        events=plan.sized(workload.events),
        in_flight=max(plan.sized(workload.in_flight), 2_000),
        stored=plan.sized(workload.stored) if workload.stored else 0,
    )
