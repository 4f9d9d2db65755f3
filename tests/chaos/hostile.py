"""A worker beside hostile producers: how long honest updates take.

Run it as ``python -m tests.chaos.hostile --seconds 600``: it prints the longest time from the XADD
of an honest update to its status, and ends in 1 where that is over the limit.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import redis
from status_tracker.keys import Keys

from tests.acceptance.tracker import tracker
from tests.events import id_in
from tests.servers import Redis, Server, binaries

KEYS = Keys("status", "single")
PARTITIONS = 4
LIMIT = 5.0
"""Seconds."""

HOSTILE_RATE = 60.0
"""Entries per second, most of them of 64 KiB."""

HONEST_EVERY = 0.1
"""Seconds between two honest updates of a partition."""

SIZE = 65_536


def filled(begin: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """Return an entry of the largest size."""
    return begin + unit * ((SIZE - len(begin) - len(end)) // len(unit)) + end


HOSTILE = [
    filled(b"", b"["),
    filled(b"[[]", b",[]", b"]"),
    filled(b"[" * 399 + b"[]", b",[]", b"]" * 399),
    filled(b'{"kind":"zzz","x":[0', b",9e307", b"]}"),
    filled(b'{"kind":"zzz","x":[0', b",9e999", b"]}"),
    filled(b'{"kind":"zzz"', b',"kind":1', b"}"),
    filled(b'{"kind":"task","id":"', "é".encode(), b'"}'),
    filled(b"", b"\x1b]0;\n"),
]


def add_bytes(client: Redis, chance: random.Random, stream: str) -> None:
    """Add what takes long to judge."""
    client.xadd(stream, {"data": chance.choice(HOSTILE)})


def add_fields(client: Redis, chance: random.Random, stream: str) -> None:
    """Add an entry of many fields, or of one that is too large."""
    if chance.random() < 0.5:
        client.xadd(stream, {f"field-{number}": "x" for number in range(5_000)})
    else:
        client.xadd(stream, {"data": b"x" * 5_000_000})


def add_elsewhere(client: Redis, chance: random.Random, stream: str) -> None:
    """Add an update that may belong to any partition, with a `from` of its own."""
    update = {"kind": "task", "id": f"x{chance.randrange(10**6)}", "phase": "pending"}
    data = msgspec.json.encode({**update, "updatedAt": now(), "errorMessage": "x" * 60_000})
    client.xadd(stream, {"data": data, "from": "0/18446744073709551615-1"})


def add_ids(client: Redis, chance: random.Random, stream: str) -> None:
    """Add an entry with an ID of the future."""
    last = chance.choice(["18446744073709551615-18446744073709551615", "4102444800000-0"])
    client.xadd(stream, {"data": "x"}, id=last)


ACTIONS = [*[add_bytes] * 80, *[add_elsewhere] * 15, *[add_fields] * 4, add_ids]


def now() -> int:
    """Return the time in ms."""
    return int(time.time() * 1000)


def attack(server: Server, seed: int, over: threading.Event) -> None:
    """Add what no honest producer adds, to any stream."""
    chance = random.Random(seed)
    with server.client() as client:
        while not over.wait(chance.expovariate(HOSTILE_RATE)):
            stream = KEYS.events(chance.randrange(PARTITIONS))
            try:
                chance.choice(ACTIONS)(client, chance, stream)
            except redis.ResponseError:
                continue  # the stream has no IDs left: it is recreated


def report(server: Server, number: int, over: threading.Event, took: list[float]) -> None:
    """Say of a task that it is running, again and again; wait for each to be in its status."""
    task = id_in(number)
    at = now()
    with server.client() as client:
        for phase in ("pending", "waiting"):
            at += 1
            _send(client, number, {"id": task, "phase": phase, "updatedAt": at})
        while not over.wait(HONEST_EVERY):
            at = max(at + 1, now())
            began = time.monotonic()
            _send(client, number, {"id": task, "phase": "running", "updatedAt": at})
            while not over.is_set() and f'"updatedAt":{at}' not in str(
                client.get(f"status:task:{task}")
            ):
                time.sleep(0.005)
            took.append(time.monotonic() - began)


def _send(client: Redis, number: int, update: dict[str, object]) -> None:
    while True:
        try:
            data = msgspec.json.encode({"kind": "task", **update})
            client.xadd(KEYS.events(number), {"data": data})
        except redis.ResponseError:
            time.sleep(0.01)  # no IDs left
        else:
            return


def trim(server: Server, over: threading.Event) -> None:
    """Trim what was read, as an operator does, and the rejected entries."""
    with server.client() as client:
        while not over.wait(2):
            for number in range(PARTITIONS):
                for group in client.xinfo_groups(KEYS.events(number)):
                    client.xtrim(KEYS.events(number), minid=group["last-delivered-id"])
            client.xtrim("status:rejected", maxlen=100)


@contextmanager
def running(*work: Callable[[], None]) -> Iterator[None]:
    """Run threads until the end of the context."""
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def measure(binary: Path, folder: Path, seconds: float, seed: int) -> list[float]:
    """Return how long each honest update took."""
    over, took = threading.Event(), list[float]()
    with ExitStack() as stack:
        server = stack.enter_context(Server(binary, folder / "server", "--appendonly", "yes"))
        stack.enter_context(tracker(folder / "worker", "--redis-url", server.url))
        stack.enter_context(
            running(
                lambda: attack(server, seed, over),
                lambda: trim(server, over),
                *(
                    lambda number=number: report(server, number, over, took)
                    for number in range(PARTITIONS)
                ),
            )
        )
        stack.callback(over.set)
        over.wait(seconds)
    return took


def main() -> int:
    """Measure, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    options = parser.parse_args()
    name, binary = next(iter(binaries().items()))
    with tempfile.TemporaryDirectory() as folder:
        took = sorted(measure(binary, Path(folder), options.seconds, options.seed))
    p99 = took[int(len(took) * 0.99)]
    print(f"{name}, seed {options.seed}: {len(took):,} honest updates", end="; ")
    print(f"median {took[len(took) // 2]:.3f} s, p99 {p99:.3f} s, longest {took[-1]:.3f} s")
    return int(took[-1] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
