"""How soon an update shows in its key, beside the loop that is quickest to publish.

Updates are sent at a steady rate, and the server itself says when a key was written (`CLIENT
TRACKING`, what client-side caches use), so nobody polls. Sending and seeing are one loop on two
connections, read by one clock. It never waits for replies, so that a server that is busy delays
nothing but its own answers.

The worker has a linger of 0 ms here, for the other loop does nothing to save the server's time;
what its default is good for, `rates.py` shows.

Watched are tasks of which there is one update only: the first writing of their key is then what is
waited for.
"""

import gc
import select
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import hiredis
from msgspec import Struct

from tests.bench.loops import PUBLISHER, TRACKER, command
from tests.bench.processes import (
    Plan,
    await_that,
    connect,
    interleaved,
    running,
    serve,
    version,
    worker,
)
from tests.bench.report import Report, compared
from tests.bench.workload import Workload, add, spell, status_key

pack: Callable[[Any], bytes] = hiredis.pack_command

RATES = [2_000, 10_000]
"""Updates per second."""

MEASURED, SHORTEST = 4.0, 0.4
"""Seconds at each rate, in each round; and in a trial."""

WARM_UP = 0.5
"""Seconds at each rate that are not measured."""

SAMPLES = 400
"""Updates per second that are watched: enough for a 99th percentile, and no load."""

FIRST = 200
"""Updates that are sent before, for a contender to be at work on every partition."""

TICK = 0.001
"""Seconds between two sendings."""

SHOWN_WITHIN = 30.0
"""Seconds after the last sending; a contender that cannot keep up has a backlog by then."""


class Times(Struct, frozen=True):
    """Milliseconds from just before XADD is sent until the key shows the update."""

    p50: float
    p99: float


class Tick(NamedTuple):
    """What is sent at one time."""

    at: float
    """Seconds after the first one."""
    commands: bytes
    watched: list[bytes]
    """Keys of which it is told when they show."""


def publish_by(
    url: str, command: Sequence[str], rates: Sequence[int], seconds: float
) -> dict[int, Times]:
    """Let a contender publish updates at each rate."""
    first = Workload(FIRST)
    keys = {status_key(task) for task, _ in first.moves()}
    with connect(url) as client:
        client.flushdb()
        with running(command):
            add(client, first.streams(), first.updates())
            await_that(lambda: client.exists(*keys) == len(keys), "the first updates to show")
            return {rate: observe(url, list(ticks(rate, seconds))) for rate in rates}


def ticks(
    rate: int, seconds: float, *, partitions: int = 4, samples: int = SAMPLES
) -> Iterator[Tick]:
    """Yield what is sent tick by tick; of so many updates a second the keys are watched.

    Each update is of the time at which it is sent, if that begins now.
    """
    workload = Workload(round(rate * (WARM_UP + seconds)), seed=rate, partitions=partitions)
    streams = workload.streams()
    per_tick = max(1, round(rate * TICK))
    commands, watched = bytearray(), list[bytes]()
    moves, now = workload.moves(), time.time()
    for number in range(1, workload.events + 1):
        if number > rate * WARM_UP and number % (rate // samples) == 0:
            task, step = f"watched-{rate}-{number}", 0
            watched.append(status_key(task).encode())
        else:
            task, step = next(moves)
        partition, data = spell(task, step, round(1000 * (now + number / rate)), partitions)
        commands += pack(("XADD", streams[partition], "*", "data", data))
        if number % per_tick == 0:
            yield Tick(number / rate, bytes(commands), watched)
            commands, watched = bytearray(), []


def observe(url: str, ticks: Sequence[Tick]) -> Times:
    """Send all, and say how soon the watched ones showed.

    Raises `SystemExit` where updates do not show.
    """
    sent: dict[bytes, float] = {}
    seen: dict[bytes, float] = {}
    gc.collect()
    gc.disable()
    try:
        with closing(Wire(url)) as feed, closing(Wire(url)) as told:
            told.send(pack(("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", status_key("watched-"))))
            began = time.perf_counter()
            for tick in ticks:
                listen(feed, told, seen, began + tick.at)
                sent.update(dict.fromkeys(tick.watched, time.perf_counter()))
                feed.send(tick.commands)
            deadline = time.perf_counter() + SHOWN_WITHIN
            while len(seen) < len(sent) and time.perf_counter() < deadline:
                listen(feed, told, seen, time.perf_counter() + TICK)
    finally:
        gc.enable()
    if len(seen) < len(sent):
        raise SystemExit(f"wrong work: {len(sent) - len(seen)} keys never showed their update")
    took = sorted(1000 * (seen[key] - at) for key, at in sent.items())
    return Times(statistics.median(took), took[int(len(took) * 0.99)])


def listen(feed: "Wire", told: "Wire", seen: dict[bytes, float], until: float) -> None:
    """Take in what comes until a time, and when keys were seen."""
    while (left := until - time.perf_counter()) > 0:
        readable, _, _ = select.select([feed, told], [], [], left)
        now = time.perf_counter()
        for reply in (reply for wire in readable for reply in wire.receive()):
            if isinstance(reply, hiredis.ReplyError):
                raise SystemExit(f"wrong work: {reply}")
            if isinstance(reply, hiredis.PushNotification):
                for key in reply[1] or ():
                    seen.setdefault(key, now)


class Wire:
    """A connection without a client around it, by the protocol in which servers may speak first."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port or 6379))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        self.send(b"HELLO 3\r\n")
        while not list(self.receive()):
            pass

    def fileno(self) -> int:
        """Return what `select` waits for."""
        return self._socket.fileno()

    def send(self, commands: bytes) -> None:
        """Send packed commands."""
        self._socket.sendall(commands)

    def receive(self) -> Iterator[Any]:
        """Yield the replies that have come; wait where there are none."""
        received = self._socket.recv(1 << 16)
        if not received:
            raise SystemExit("the server closed a connection")
        self._reader.feed(received)
        while (reply := self._reader.gets()) is not False:
            yield reply

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def measure(kind: str, plan: Plan) -> Report:
    """Let both publish at each rate, in turns."""
    seconds = max(SHORTEST, MEASURED * plan.scale)
    partitions = Workload().partitions
    with serve(kind) as url:
        publishers = {
            PUBLISHER: command(PUBLISHER, url, sys.maxsize, partitions),
            TRACKER: worker(url, partitions, linger="0ms"),
        }
        found = interleaved(
            plan,
            {
                name: partial(publish_by, url, publishers[name], RATES, seconds)
                for name in publishers
            },
            lambda found: ", ".join(f"{at.p50:.2f} to {at.p99:.2f} ms" for at in found.values()),
        )
        report = Report(version(url))
    for rate in RATES:
        for name in ("p50", "p99"):
            ours, theirs = (
                [float(getattr(each[rate], name)) for each in found[contender]]
                for contender in (TRACKER, PUBLISHER)
            )
            what = f"latency at {rate:,}/s: {name}"
            report.figures.append(compared(what, "ms", ours, PUBLISHER, theirs))
    return report
