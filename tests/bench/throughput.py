"""The drain rate of the real worker, beside a loop that does nothing, in one run.

The backlog: tasks with UUID ids, 2,000 in flight, each pending, waiting, 5 x running with progress,
completed, over 4 partitions. The loop that does nothing reads the same entries with `XREADGROUP
COUNT 1000`, throws them away, and sends one `XACK` per read: what any consumer-group loop in Python
has to do at the least. Its replies are taken raw, and its client is redis-py's fastest, the
blocking one with hiredis. Rounds are interleaved; the last line is the median of their ratios.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import redis

from tests.bench.workload import PREFIX, Workload, restore
from worker.app import Worker
from worker.embedded import embedded_server
from worker.lifecycle import load_lifecycles
from worker.settings import Settings, load_settings


def drain_doing_nothing(client: redis.Redis, workload: Workload) -> float:
    """Read and acknowledge everything; return events per second."""
    streams = workload.streams()
    for key in streams:
        client.xgroup_create(key, "nothing", "0")
    began = time.perf_counter()
    seen = 0
    while seen < workload.events:
        for key in streams:
            reply = client.execute_command(  # type: ignore[no-untyped-call]
                "XREADGROUP", "GROUP", "nothing", "one", "COUNT", 1000, "STREAMS", key, ">"
            )
            if reply:
                entries = reply[0][1]
                client.xack(key, "nothing", *[entry[0] for entry in entries])
                seen += len(entries)
    return workload.events / (time.perf_counter() - began)


async def drain(settings: Settings, events: int) -> float:
    """Let the real worker read everything; return events per second, its start included."""
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


def check(client: redis.Redis, workload: Workload) -> None:
    """Refuse to quote a rate for work that was not done."""
    entries = sum(
        int(client.hget(f"{PREFIX}:partition:{{{number}}}", "entries") or 0)
        for number in range(workload.partitions)
    )
    completed = int(client.hget(f"{PREFIX}:counts:task", "completed") or 0)
    rejected = client.xlen(f"{PREFIX}:rejected")
    if entries != workload.events or rejected or not completed:
        raise SystemExit(
            f"wrong work: {entries=} {completed=} {rejected=} of {workload.events} events"
        )


def measure(url: str, workload: Workload, rounds: int) -> None:
    """Print both rates for each round, and the median of the ratios as the last line."""
    client = redis.Redis.from_url(url, protocol=2)
    client.set_response_callback("XREADGROUP", lambda reply, **_: reply)
    # Restoring the backlog sets off rewrites of the append-only file, in a process of their own
    # that would take a core from whichever loop comes next.
    client.config_set("auto-aof-rewrite-percentage", 0)
    dumps = workload.load(client)
    info = client.info("server")
    version = info.get("valkey_version") or info["redis_version"]
    server = f"{info.get('server_name', 'redis')} {version}"
    print(f"{workload.events:,} events, {workload.partitions} partitions, {server}")
    settings = load_settings(
        environment={},
        options={"redis_url": url, "prefix": PREFIX, "partitions": workload.partitions},
    )
    ratios = []
    for number in range(1, rounds + 1):
        restore(client, dumps)
        nothing = drain_doing_nothing(client, workload)
        restore(client, dumps)
        tracked = asyncio.run(drain(settings, workload.events))
        check(client, workload)
        ratios.append(tracked / nothing)
        print(
            f"round {number}: doing nothing {nothing:9,.0f}/s   status tracker {tracked:9,.0f}/s"
            f"   ratio {ratios[-1]:.2f}",
            flush=True,
        )
    client.flushdb()
    print(f"ratio: {statistics.median(ratios):.2f}")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--redis-url", help="a server of your own; its database is FLUSHED")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = (
            nullcontext(options.redis_url) if options.redis_url else embedded_server(Path(folder))
        )
        with server as url:
            measure(url, Workload(options.events), options.rounds)


if __name__ == "__main__":
    main()
