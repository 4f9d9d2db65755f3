"""Sends updates at a steady rate, and sees when the keys show them.

The server itself says when a key was written (`CLIENT TRACKING`, what client-side caches use), so
nobody polls: a sampled update costs two GETs, whoever publishes it. Sending and seeing are one
loop on two connections, read by one clock. It never waits for replies, so that a server that is
busy delays nothing but its own answers.
"""

import gc
import math
import select
import socket
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import hiredis
import msgspec
from msgspec import Struct

from tests.bench.tracker import status_key
from tests.bench.workload import STEPS, Workload

TICK = 0.001
"""Seconds between two sendings."""

AHEAD = 20
"""Ticks that a key is watched before its update is sent."""

SHOWN_WITHIN = 30.0
"""Seconds after the last sending; a contender that cannot keep up has a backlog by then."""


class Sample(Struct):
    """One update that is watched for."""

    key: bytes
    step: int
    sent: float = math.inf
    seen: float = math.inf


class Tick(Struct):
    """What is sent at one time."""

    commands: bytes
    samples: list[Sample]


class _Shown(Struct):
    """What is read of a document."""

    phase: str
    progress: float = 0.0


_decode = msgspec.json.Decoder(_Shown).decode


def prepare(workload: Workload, rate: int, every: int, skip: int) -> Iterator[Tick]:
    """Yield what is sent tick by tick; each `every`th update is a sample, but of the first."""
    pack: Any = hiredis.pack_command
    streams = workload.streams()
    per_tick = max(1, round(rate * TICK))
    tick = Tick(b"", [])
    moves = workload.moves()
    for number, ((partition, data), (task, step)) in enumerate(
        zip(workload.updates(), moves, strict=True)
    ):
        tick.commands += pack(("XADD", streams[partition], "*", "data", data))
        if number >= skip and number % every == 0:
            tick.samples.append(Sample(status_key(task).encode(), step))
        if (number + 1) % per_tick == 0:
            yield tick
            tick = Tick(b"", [])


def observe(url: str, ticks: Sequence[Tick]) -> list[float]:
    """Send all, and return the seconds from just before an update was sent until it showed.

    Raises `SystemExit` where updates do not show.
    """
    gc.collect()
    gc.disable()
    try:
        with closing(_Wire(url)) as feed, closing(_Wire(url)) as watched:
            watch = _Watch(watched)
            _send(ticks, feed, watch)
            _listen(feed, watch, time.perf_counter() + SHOWN_WITHIN)
    finally:
        gc.enable()
    if watch.wanted:
        raise SystemExit(f"wrong work: {len(watch.wanted)} keys never showed their update")
    return [sample.seen - sample.sent for tick in ticks for sample in tick.samples]


def _send(ticks: Sequence[Tick], feed: "_Wire", watch: "_Watch") -> None:
    began = time.perf_counter()
    for number in range(len(ticks) + AHEAD):
        _listen(feed, watch, began + number * TICK, even_idle=True)
        if number < len(ticks):
            watch.add(ticks[number].samples)
        if number >= AHEAD:
            tick = ticks[number - AHEAD]
            now = time.perf_counter()
            for sample in tick.samples:
                sample.sent = now
            feed.send(tick.commands)


def _listen(feed: "_Wire", watch: "_Watch", until: float, *, even_idle: bool = False) -> None:
    """Take in what comes until a time, or until there is nothing more to be seen."""
    while even_idle or watch.wanted:
        left = until - time.perf_counter()
        if left <= 0:
            return
        readable, _, _ = select.select([feed, watch.wire], [], [], left)
        now = time.perf_counter()
        if watch.wire in readable:
            watch.notice(now)
        if feed in readable:
            for reply in feed.receive():
                if isinstance(reply, hiredis.ReplyError):
                    raise SystemExit(f"wrong work: {reply}")


class _Watch:
    """The keys that are watched, and what the server says of them."""

    def __init__(self, wire: "_Wire") -> None:
        self.wire = wire
        self.wanted: defaultdict[bytes, list[Sample]] = defaultdict(list)
        # Keys that were asked for, and when the server told that they had been written.
        self._asked: deque[tuple[bytes, float]] = deque()
        wire.send(hiredis.pack_command(("CLIENT", "TRACKING", "ON")))  # type: ignore[arg-type]
        self._asked.append((b"", 0.0))

    def add(self, samples: Sequence[Sample]) -> None:
        """Watch for updates that will be sent soon."""
        for sample in samples:
            self.wanted[sample.key].append(sample)
            self._ask(sample.key, 0.0)

    def _ask(self, key: bytes, told: float) -> None:
        # The server tells of a key once after each time it was asked for.
        self._asked.append((key, told))
        self.wire.send(hiredis.pack_command(("GET", key)))  # type: ignore[arg-type]

    def notice(self, now: float) -> None:
        """Take in what the server says."""
        for reply in self.wire.receive():
            if isinstance(reply, hiredis.PushNotification):
                for key in reply[1] or ():
                    if key in self.wanted:
                        self._ask(key, now)
            else:
                key, told = self._asked.popleft()
                if reply is not None and key in self.wanted:
                    self._see(key, _step(reply), told, now)

    def _see(self, key: bytes, step: int, told: float, now: float) -> None:
        waiting = []
        for sample in self.wanted[key]:
            if sample.step <= step:
                # The write that was told of may be an earlier one, which another one followed
                # before the key was asked for.
                sample.seen = told if told > sample.sent else now
            else:
                waiting.append(sample)
        if waiting:
            self.wanted[key] = waiting
        else:
            del self.wanted[key]


class _Wire:
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


def _step(document: bytes) -> int:
    shown = _decode(document)
    first = STEPS.index(shown.phase)
    return first + round(shown.progress * 5) if shown.phase == "running" else first
