"""The real worker, draining a backlog in this process; and whether it did all that it should."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import redis
from status_tracker.app import Worker
from status_tracker.keys import Keys, PartitionKeys
from status_tracker.lifecycle import load_lifecycles
from status_tracker.settings import Settings, load_settings

from tests.bench.workload import PREFIX, STEPS, Workload, outcome, phases

KEYS = Keys(PREFIX, "single")

_phase_of = msgspec.json.Decoder(dict[str, Any]).decode


def keys() -> PartitionKeys:
    """Return the keys that a deployment has once, by way of its first partition."""
    return KEYS.partition(0)


def status_key(task: str) -> str:
    """Return the key of a task's status."""
    return keys().status("task", task)


def settings(url: str, workload: Workload) -> Settings:
    """Return the settings: the defaults, whatever the environment says."""
    options = {"redis_url": url, "prefix": PREFIX, "partitions": workload.partitions}
    return load_settings(environment={}, options=options)


def drain_tracker(url: str, workload: Workload, events: int | None = None) -> float:
    """Let the real worker read everything; return events per second, its start included.

    `events` are how many there are in the streams, where that is a part of the workload.
    """
    return asyncio.run(_drain(settings(url, workload), events or workload.events))


async def _drain(settings: Settings, events: int) -> float:
    worker = Worker(settings, load_lifecycles(settings.lifecycles))
    began = time.perf_counter()
    running = asyncio.create_task(worker.run())
    while worker.totals.read < events:
        await asyncio.sleep(0.002)
        if running.done():
            running.result()
    rate = events / (time.perf_counter() - began)
    worker.stop()
    await running
    return rate


def entries(client: redis.Redis, workload: Workload) -> int:
    """Return how many entries the partitions' cursors have passed."""
    own = [KEYS.partition(number).partition for number in range(workload.partitions)]
    return sum(int(client.hget(key, "entries") or 0) for key in own)


def check(client: redis.Redis, workload: Workload, stored: Mapping[str, int] | None = None) -> None:
    """Refuse to quote a rate for work that was not done.

    `stored` says how many more entities there are in each phase, which the backlog does not touch.
    """
    check_statuses(client, workload)
    own = keys()
    wanted = dict(phases(workload))
    for phase, count in (stored or {}).items():
        wanted[phase] = wanted.get(phase, 0) + count
    counts: Any = client.hgetall(own.counts["task"])
    found = {phase.decode(): int(count) for phase, count in counts.items() if int(count)}
    indexed = {phase: client.zcard(own.phases["task"][phase]) for phase in wanted}
    read = entries(client, workload)
    rejected = client.xlen(own.rejected)
    if (read, rejected, found, indexed) != (workload.events, 0, wanted, wanted):
        raise SystemExit(
            f"wrong work: {read=} of {workload.events}, {rejected=}, "
            f"counts {found}, index {indexed}, should be {wanted}"
        )


def check_statuses(client: redis.Redis, workload: Workload) -> None:
    """Refuse where a task's document is not of the phase that its last update told of."""
    steps = list(outcome(workload).items())
    for first in range(0, len(steps), 10_000):
        some = steps[first : first + 10_000]
        documents: Any = client.mget([status_key(task) for task, _ in some])
        for (task, step), document in zip(some, documents, strict=True):
            phase = _phase_of(document)["phase"] if document else None
            if phase != STEPS[step]:
                raise SystemExit(f"wrong work: {task} is {phase}, not {STEPS[step]}")
