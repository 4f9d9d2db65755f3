"""What each step of draining costs for an event.

The worker's steps are timed one by one, in memory, on replies as a server sends them, with nobody
else at work; beside a busy server they take about a third more. That, the socket, redis-py and
asyncio are what is left of the worker's CPU in a real drain. The server's are its `commandstats`.
"""

import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hiredis
import msgspec
import redis
from status_tracker.app import COLLECT_EVERY
from status_tracker.decode import find_all
from status_tracker.engine.batch import Pipeline
from status_tracker.engine.store import Store
from status_tracker.fold import Rules
from status_tracker.lifecycle import load_lifecycles
from status_tracker.settings import default_file

from tests.bench.alone import TRACKER, drain_alone
from tests.bench.figures import Figure, Report
from tests.bench.kinds import Kind, connect, version
from tests.bench.rounds import Plan, say
from tests.bench.tracker import KEYS
from tests.bench.workload import Workload, restore

STEP = "step: "
"""What the names of these figures begin with."""

COUNT = 2000
"""Entries in a reply, as under a backlog."""

SERVER = {"evalsha": "the script, with all it calls", "xread": "XREAD"}
CALLED = ["xadd", "mget", "mset", "zadd", "zrem"]

Seconds = defaultdict[str, float]


def measure(kind: Kind, plan: Plan) -> Report:
    """Time the steps; the drain beside them is a real one."""
    # As the worker sets it for its process.
    gc.set_threshold(COLLECT_EVERY)
    workload = Workload(plan.sized(400_000))
    with kind.serve() as url, connect(url) as client:
        report = Report(version(url), kind.append_only)
        dumps = workload.load(client)
        replies = {
            number: list(_replies(client, stream))
            for number, stream in enumerate(workload.streams())
        }
        rounds = []
        for number in range(1, plan.rounds + 1):
            took = _worker_steps(replies, workload)
            restore(client, dumps)
            client.config_resetstat()
            took["all of the worker, in a drain"] = drain_alone(TRACKER, url, workload).cpu
            took |= _server_steps(client)
            rounds.append(took)
            say(f"round {number}")
    for name in rounds[0]:
        value = statistics.median(took[name] for took in rounds) / workload.events * 1e6
        report.figures.append(Figure(f"{STEP}{name}", f"{STEP}{name}", value, "µs"))
    return report


def _replies(client: redis.Redis, stream: str) -> Iterator[bytes]:
    """Yield a stream as the bytes of the replies that XREAD would give."""
    pack: Any = hiredis.pack_command
    cursor = "-"
    while found := client.execute_command("XRANGE", stream, cursor, "+", "COUNT", COUNT):  # type: ignore[no-untyped-call]
        entries = [
            b"*2\r\n" + pack((entry_id,))[4:] + pack((b"data", fields[b"data"]))
            for entry_id, fields in found
        ]
        yield b"*%d\r\n" % len(entries) + b"".join(entries)
        cursor = f"({found[-1][0].decode()}"


def _worker_steps(replies: dict[int, list[bytes]], workload: Workload) -> Seconds:
    took: Seconds = defaultdict(float)

    @contextmanager
    def step(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        took[name] += time.perf_counter() - began

    rules = Rules(
        load_lifecycles(default_file("lifecycles.toml")), max_clock_skew=60_000, clock_skew=1_000
    )
    for number, own in replies.items():
        pipeline = Pipeline(
            rules,
            stream=KEYS.events(number),
            number=number,
            partitions=workload.partitions,
            max_event_bytes=65_536,
            live_statuses=62_500,
        )
        # Nothing is sent: only the arguments are made.
        store = Store(redis.asyncio.Redis(), KEYS, number, max_changes=100_000, max_rejected=1)
        for reply in own:
            with step("parse the reply"):
                reader = hiredis.Reader()
                reader.feed(reply)
                entries: Any = reader.gets()
            with step("decode"):
                values, _ = find_all(entries)
                pipeline.decode(entries, values)
            with step("fold"):
                pipeline.fold()
            with step("documents and arguments of the commit"):
                batch = pipeline.close()
                keys, payload = store._payload(batch, {})
                packed = msgspec.msgpack.encode(payload)
                hiredis.pack_command(("EVALSHA", "", len(keys), *keys, packed))  # type: ignore[arg-type]
            with step("let go of what is done"):
                pipeline.settle(batch)
                del reader, entries, values, batch, keys, payload, packed
    return took


def _server_steps(client: redis.Redis) -> Seconds:
    stats: Any = client.info("commandstats")
    took: Seconds = defaultdict(float)
    for command, name in SERVER.items():
        took[f"server: {name}"] = stats[f"cmdstat_{command}"]["usec"] / 1e6
    for command in CALLED:
        took[f"server: {command.upper()}, called by the script"] = (
            stats[f"cmdstat_{command}"]["usec"] / 1e6
        )
    return took
