"""The loops that are compared, each in a process of its own.

`python -m tests.bench.loops NAME URL EVENTS PARTITIONS` drains what is in the streams and prints
one line of JSON. A process that had measured others before would have their leavings all over its
memory, and be slower for it, the tracker more so than a loop that keeps nothing.

The consumer-group loops take a group of their own. None of them keeps an index, counts or a feed.
All of them fold as carefully, and so does the FastStream service.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import redis
from status_tracker.app import COLLECT_EVERY, Worker
from status_tracker.rules import load_rules
from status_tracker.settings import default_file, load_settings
from status_tracker.units import duration

from tests.bench.by_hand import MAX_RETRIES, SCRIPT, decoded, folded, keys_of
from tests.bench.processes import connect, figures_of
from tests.bench.workload import PREFIX, Workload

TRACKER = "status tracker"
WITH_RETENTION = "status tracker that looks each second what is old"
WITH_HISTORY = "status tracker, history of 20"
BY_HAND = "loop by hand, MSET"
NOTHING = "loop that does nothing"
NAIVE = "naive loop"
PUBLISHER = "XREAD + SET"
BY_EVENT = "script by event"

GROUP = "by-hand"

Entry = Any
"""As the server sends it: ``[id, [field, value]]``."""

Handle = Callable[[redis.Redis, str, list[Entry]], None]
"""What is done with the entries of one read of one stream."""


def drain_by_tracker(url: str, workload: Workload, *, history: int = 0, kept: str = "7d") -> float:
    """Let the real worker read everything; return events per second, its start included.

    `kept` is how long completed tasks are.
    """
    options = {"redis_url": url, "prefix": PREFIX, "partitions": workload.partitions}
    settings = load_settings(environment={}, options=options)
    rules = msgspec.structs.replace(load_rules(default_file("rules.toml")), history=history)
    task = rules.kinds["task"]
    task = msgspec.structs.replace(task, retention={"completed": duration(kept)})
    rules = msgspec.structs.replace(rules, kinds={**rules.kinds, "task": task})
    worker = Worker(settings, rules=rules)

    async def drain() -> float:
        began = time.perf_counter()
        running = asyncio.create_task(worker.run())
        while worker.tally.read < workload.events:
            await asyncio.sleep(0.002)
            if running.done():
                running.result()
        rate = workload.events / (time.perf_counter() - began)
        worker.stop()
        await running
        return rate

    return asyncio.run(drain())


def publish(url: str, workload: Workload) -> float:
    """Publish as quickly as can be: a blocking XREAD, and a SET for each event, without end.

    It checks nothing and would start anew after a crash.
    """
    client = _raw(url)
    cursors: dict[Any, Any] = dict.fromkeys(workload.streams(), "0")
    while True:
        reply: Any = client.xread(cursors, count=1000, block=1000)
        pipeline = client.pipeline(transaction=False)
        for stream, entries in reply or ():
            for _, (_, data) in entries:
                [(key, _)] = decoded([data])
                pipeline.set(key, data)
            cursors[stream.decode()] = entries[-1][0]
        pipeline.execute()


def apply_by_event(url: str, workload: Workload) -> float:
    """Do what is written where updates trickle in: a script and an XACK for each, in a pipeline."""
    client = connect(url)
    script = client.script_load(SCRIPT)
    streams: dict[Any, Any] = dict.fromkeys(workload.streams(), ">")
    for key in streams:
        client.xgroup_create(key, GROUP, "0", mkstream=True)
    while True:
        reply: Any = client.xreadgroup(GROUP, "one", streams, count=1000, block=1000)
        pipeline = client.pipeline(transaction=False)
        for stream, entries in reply or ():
            for entry_id, fields in entries:
                for key, _ in decoded([fields[b"data"]]):
                    pipeline.evalsha(script, 1, key, fields[b"data"], MAX_RETRIES)
                pipeline.xack(stream, GROUP, entry_id)
        pipeline.execute()


def _raw(url: str) -> redis.Redis:
    """Return a client that leaves entries as hiredis parses them."""
    client = connect(url)
    for command in ("XREADGROUP", "XREAD"):
        client.set_response_callback(command, lambda reply, **_: reply)
    return client


def _drain(url: str, workload: Workload, *, count: int, handle: Handle) -> float:
    """Read every entry on a group, and handle it; return events per second."""
    client = _raw(url)
    streams = workload.streams()
    for key in streams:
        client.xgroup_create(key, GROUP, "0", mkstream=True)
    began = time.perf_counter()
    seen = 0
    while seen < workload.events:
        for key in streams:
            reply: Any = client.xreadgroup(GROUP, "one", {key: ">"}, count=count)
            if reply:
                entries = reply[0][1]
                handle(client, key, entries)
                seen += len(entries)
    return workload.events / (time.perf_counter() - began)


def _acknowledge(client: redis.Redis, stream: str, entries: list[Entry]) -> None:
    """Do nothing else: what any loop on a group has to do at the least."""
    client.xack(stream, GROUP, *[entry[0] for entry in entries])


def _apply_one_by_one(client: redis.Redis, stream: str, entries: list[Entry]) -> None:
    """Do what is written first: a GET, a SET and an XACK for each event."""
    for entry_id, (_, data) in entries:
        for key, update in decoded([data]):
            for document in folded([(key, update)], [key], [client.get(key)]).values():
                client.set(key, document)
        client.xack(stream, GROUP, entry_id)


def _apply_batch(client: redis.Redis, stream: str, entries: list[Entry]) -> None:
    """Do what a good engineer writes: a read is one MGET, and one transaction with an MSET."""
    updates = decoded(fields[1] for _, fields in entries)
    keys = keys_of(updates)
    values: Any = client.mget(keys) if keys else []
    changed = folded(updates, keys, values)
    pipeline = client.pipeline(transaction=True)
    if changed:
        pipeline.mset(changed)
    pipeline.xack(stream, GROUP, *[entry[0] for entry in entries])
    pipeline.execute()


LOOPS: dict[str, Callable[[str, Workload], float]] = {
    TRACKER: drain_by_tracker,
    WITH_HISTORY: partial(drain_by_tracker, history=20),
    WITH_RETENTION: partial(drain_by_tracker, kept="10s"),
    BY_HAND: partial(_drain, count=1000, handle=_apply_batch),
    NOTHING: partial(_drain, count=1000, handle=_acknowledge),
    NAIVE: partial(_drain, count=100, handle=_apply_one_by_one),
    PUBLISHER: publish,
    BY_EVENT: apply_by_event,
}


def command(name: str, url: str, events: int, partitions: int) -> list[str]:
    """Return what runs a loop in a process of its own."""
    return [sys.executable, "-m", "tests.bench.loops", name, url, str(events), str(partitions)]


def drain_alone(name: str, url: str, workload: Workload) -> tuple[float, float]:
    """Let a loop drain the streams; return events per second, and its seconds of CPU for them."""
    drained = figures_of(command(name, url, workload.events, workload.partitions))
    return drained["rate"], drained["cpu"]


def main(name: str, url: str, events: str, partitions: str) -> None:
    """Drain, and say how fast."""
    # What the worker's process sets, so that nobody is slower for that.
    gc.set_threshold(COLLECT_EVERY)
    began = time.process_time()
    rate = LOOPS[name](url, Workload(int(events), partitions=int(partitions)))
    print(json.dumps({"rate": rate, "cpu": time.process_time() - began}))


if __name__ == "__main__":
    main(*sys.argv[1:])
