"""What it costs that old entities go: how fast they do, and the drain meanwhile.

`python -m tests.bench.upkeep` stores completed tasks, all of them due at once, and has a worker
take them away: alone, and while it drains a backlog, in rounds beside a drain with as many stored
of which none is due. Then it feeds a worker with limits of seconds for long, and looks at memory.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec
import redis
from msgspec import Struct

if not __package__:
    # Run as a file: Python then looks beside it, and not in the checkout.
    sys.path[0] = str(Path(__file__).parents[2])

from status_tracker.settings import default_file

from tests.bench.drain import Backlog, entries
from tests.bench.loops import WITH_RETENTION, drain_alone
from tests.bench.processes import (
    Plan,
    await_that,
    connect,
    interleaved,
    interruptible,
    memory,
    running,
    say,
    serve,
    version,
    worker,
)
from tests.bench.report import median
from tests.bench.workload import OWN, Workload, add, pieces, status_key
from tests.servers import binaries

STORED = 1_000_000
EVENTS = 2_000_000
"""Enough for some seconds: the first look is after one."""
SOAKED = 10_000_000
LONG_AGO = 1_700_000_000_000
"""When tasks were completed that are due."""

AHEAD = 50_000
"""Milliseconds from now to when other tasks are completed, so that they are not due meanwhile: a
producer's clock may be ahead by so much."""

COMPLETED = OWN.phase("task", "completed")
SOON = 'completed = "2s"'
SLICE = 20_000
"""Updates that are added at once."""

SLOW = 1_000
"""Microseconds from which on the server's slow log keeps a call."""


class Removal(Struct):
    """How tasks went that were all due at once."""

    rate: float
    """Tasks per second."""
    slowest: Mapping[str, float]
    """The longest call of each command, in ms, of those that the server found slow."""


class Due:
    """A server with a backlog, and with tasks in the store that are due or not."""

    def __init__(self, url: str, events: int, stored: int) -> None:
        self._url = url
        self._stored = stored
        self._backlog = Backlog(url, Workload(events, ahead=AHEAD))
        self._client: redis.Redis = self._backlog.client
        self._client.config_set("slowlog-log-slower-than", SLOW)
        self._client.config_set("slowlog-max-len", 10_000)

    def drain(self, *, due: bool) -> float:
        """Drain the backlog; return events per second."""
        self._backlog.reset()
        self._store(LONG_AGO if due else int(time.time() * 1000) + AHEAD)
        rate, _ = drain_alone(WITH_RETENTION, self._url, self._backlog.workload)
        return rate

    def remove(self) -> Removal:
        """Have a worker take all away, with nothing else to do."""
        self._client.flushdb()
        self._store(LONG_AGO)
        self._client.slowlog_reset()
        with running(worker(self._url, 4)):
            await_that(
                lambda: self._client.zcard(COMPLETED) < self._stored, "the first goes", within=60
            )
            began, left = time.monotonic(), self._client.zcard(COMPLETED)
            await_that(lambda: not self._client.exists(COMPLETED), "the last goes", within=900)
            took = time.monotonic() - began
        slowest: dict[str, float] = {}
        for each in self._client.slowlog_get(10_000):
            name = each["command"].split(b" ")[0].decode()
            slowest[name] = max(slowest.get(name, 0), each["duration"] / 1000)
        return Removal(left / took, slowest)

    def _store(self, at: int) -> None:
        document = msgspec.json.encode({"phase": "completed", "progress": 1, "retries": 0})
        document = document[:-1] + b',"updatedAt":%d}' % at
        for some in pieces(f"stored-{number}" for number in range(self._stored)):
            self._client.mset(dict.fromkeys(map(status_key, some), document))
            self._client.zadd(COMPLETED, dict.fromkeys(some, at))
        self._client.hset(OWN.counts("task"), "completed", str(self._stored))


def soak(url: str, events: int) -> None:
    """Feed a worker whose entities go after seconds, and whose entries do; tell the memory."""
    workload = Workload(events, in_flight=20_000)
    with connect(url) as client, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        client.flushdb()
        rules = default_file("rules.toml").read_text().replace('completed = "7d"', SOON)
        file = Path(folder) / "rules.toml"
        file.write_text(rules)
        setting = ["env", f"STATUS_RULES={file}", "STATUS_EVENTS_RETENTION=1s"]
        fed, next_look = 0, events // 10
        with running([*setting, *worker(url, workload.partitions)]) as process:
            for some in pieces(workload.updates(), SLICE):
                add(client, workload.streams(), some)
                fed += len(some)
                await_that(partial(_drained, client, fed, workload), "a slice to be drained")
                if fed >= next_look:
                    used = client.info("memory")["used_memory"] / 1e6
                    completed = client.zcard(COMPLETED)
                    say(
                        f"{fed:,} events: worker {memory(process, 'VmRSS'):.0f} MB, server "
                        f"{used:.0f} MB, {completed:,} completed tasks"
                    )
                    next_look += events // 10


def _drained(client: redis.Redis, events: int, workload: Workload) -> bool:
    return entries(client, workload) >= events


def main() -> None:
    """Print how fast tasks go, the longest calls, and the ratio of the drains."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--server", choices=binaries(), default="redis")
    options = parser.parse_args()
    interruptible()
    plan = Plan(options.rounds, options.scale)
    with serve(options.server) as url:
        due = Due(url, plan.sized(EVENTS), plan.sized(STORED))
        print(f"{plan.sized(STORED):,} tasks due at once, {version(url)}", flush=True)
        removal = due.remove()
        calls = ", ".join(f"{name} {ms:.1f} ms" for name, ms in removal.slowest.items())
        say(f"alone: {removal.rate:,.0f} tasks/s; longest calls of the server: {calls or 'none'}")
        contenders = {"due": partial(due.drain, due=True), "not due": partial(due.drain, due=False)}
        drains = interleaved(plan, contenders, lambda rate: f"{rate:,.0f}/s")
    pairs = zip(drains["due"], drains["not due"], strict=True)
    print(f"ratio of the drains: {median([ours / theirs for ours, theirs in pairs]):.2f}")
    with serve(options.server) as url:
        soak(url, plan.sized(SOAKED))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
