"""A real worker beside producers and others who mean no good: honest updates go on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from status_tracker.keys import Keys

from tests.acceptance.tracker import tracker
from tests.events import NOW, add, id_in, update
from tests.proxy import Proxy
from tests.servers import Redis, Server, wait_until

SINGLE = Keys("status", "single")
EVENTS = SINGLE.events(0)
HONEST = id_in(0)

LAST_ID = "18446744073709551615-18446744073709551615"

LARGE_NUMBERS = b'{"kind":"zzz","x":[0' + b",9e307" * 10_900 + b"]}"
EMPTY_LISTS = b"[[]" + b",[]" * 21_800 + b"]"


def is_applied(client: Redis, entity_id: str) -> bool:
    """Tell whether an entity has a status."""
    return bool(client.exists(f"status:task:{entity_id}"))


def are_rejected(client: Redis, count: int) -> bool:
    """Tell whether so many entries were rejected."""
    return bool(client.xlen("status:rejected") == count)


@pytest.mark.parametrize("data", [LARGE_NUMBERS, EMPTY_LISTS], ids=["numbers", "lists"])
def test_entries_that_take_long_to_judge(
    server: Server, redis_client: Redis, tmp_path: Path, data: bytes
) -> None:
    """A producer with nothing but XADD cannot hold up a partition, nor its lease."""
    for _ in range(300):
        redis_client.xadd(EVENTS, {"data": data})
    add(redis_client, update(HONEST, "pending"), keys=SINGLE)
    with tracker(tmp_path, "--redis-url", server.url, STATUS_LEASE_TTL="2s") as running:
        wait_until(partial(is_applied, redis_client, HONEST), within=10)
        assert not running.events("lease_lost")
    assert redis_client.xlen("status:rejected") == 300


def test_a_server_that_takes_no_large_arguments(own_server: Server, tmp_path: Path) -> None:
    """Where a commit of 8 MiB is refused each time, smaller ones are not."""
    with own_server.client() as client:
        client.config_set("proto-max-bulk-len", "1mb")
        for number in range(100):
            message = "x" * 60_000
            add(
                client,
                update(id_in(0, prefix=f"other-{number}"), "pending", errorMessage=message),
                keys=SINGLE,
            )
        with tracker(tmp_path, "--redis-url", own_server.url):
            wait_until(lambda: client.hget("status:counts:task", "pending") == "100", within=30)


def test_an_entry_that_cannot_come_in_time(own_server: Server, tmp_path: Path) -> None:
    """An entry of 30 MB over 4 MB/s would take longer than an answer may: it is read cut."""
    with own_server.client() as client, Proxy(own_server) as proxy:
        client.xadd(EVENTS, {"data": b"x" * 30_000_000})
        add(client, update(HONEST, "pending"), keys=SINGLE)
        proxy.down.rate = 4_000_000
        with tracker(tmp_path, "--redis-url", proxy.url):
            wait_until(partial(is_applied, client, HONEST), within=20)
        [(_, rejected)] = client.xrange("status:rejected")
        assert (rejected["reason"], len(rejected["data"])) == ("oversized", 65_536)


@pytest.mark.parametrize("last", [LAST_ID, "18446744073709551615-0", "4102444800000-0"])
def test_an_entry_with_an_id_of_the_future(
    server: Server, redis_client: Redis, tmp_path: Path, last: str
) -> None:
    """It neither freezes who forwards there, nor stops honest producers, nor lifts rule 3."""
    with tracker(tmp_path, "--redis-url", server.url) as running:
        running.reads(0, 1, 2, 3)
        redis_client.xadd(SINGLE.events(2), {"data": "x"}, id=last)
        elsewhere, here = update(id_in(2), "pending"), update(id_in(0), "pending")
        redis_client.xadd(EVENTS, {"data": elsewhere})
        redis_client.xadd(EVENTS, {"data": here})
        for entity_id in (id_in(2), id_in(0)):
            wait_until(partial(is_applied, redis_client, entity_id))
        running.tells("stream_recreated", partition=2)
        future = int(time.time() * 1000) + 100_000
        add(redis_client, update(id_in(2), "waiting", future), keys=SINGLE)
        wait_until(lambda: redis_client.hget(SINGLE.partition(2).partition, "rejected:future"))


@contextmanager
def rewriting(server: Server, key: str) -> Iterator[threading.Event]:
    """Have somebody write another status into a key every few milliseconds."""
    over = threading.Event()

    def rewrite() -> None:
        with server.client() as client:
            number = NOW
            while not over.wait(0.004):
                number += 1
                text = f'{{"phase":"waiting","retries":0,"updatedAt":{number}}}'
                client.set(key, text)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        yield over
    finally:
        over.set()
        thread.join()


def test_a_key_that_somebody_rewrites_all_the_time(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """It is tried again in small batches, later and later, and the log says it once a minute."""
    others = [id_in(0, prefix=f"other-{number}") for number in range(1, 6)]
    with tracker(tmp_path, "--redis-url", server.url) as running:
        for each in (HONEST, *others):
            add(redis_client, update(each, "pending"), keys=SINGLE)
        wait_until(partial(is_applied, redis_client, others[-1]))
        with rewriting(server, f"status:task:{HONEST}"):
            for number in range(200):
                data = update(HONEST, "waiting", NOW + 10**7 + number, errorMessage=str(number))
                add(redis_client, data, keys=SINGLE)
            for each in others:
                add(redis_client, update(each, "waiting", NOW + 1), keys=SINGLE)
            running.tells("status_conflict")
        wait_until(lambda: redis_client.zscore("status:phase:task:waiting", others[-1]))
        assert len(running.events("status_conflict")) <= 2


def test_rejections_are_said_once_a_minute(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """One warning tells how many, why, an example and where they are; a flood tells no more."""
    with tracker(tmp_path, "--redis-url", server.url) as running:
        for number in range(50):
            redis_client.xadd(EVENTS, {"data": f"nonsense {number}"})
            wait_until(partial(are_rejected, redis_client, number + 1))
        [said] = running.events("entries_rejected")
        assert (said["partition"], said["count"], said["reasons"]) == (0, 1, {"malformed": 1})
        assert "for example status:events:{0} " in said["msg"]
        assert "kept in status:rejected" in said["msg"]


def test_the_last_line_counts_each_entry_once(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """An entry that was forwarded is read again: it is no second entry."""
    for data in (update(id_in(1), "pending"), update(id_in(0), "pending"), b"nonsense"):
        redis_client.xadd(EVENTS, {"data": data})
    redis_client.xadd(EVENTS, {"data": update(id_in(0), "pending")})
    with tracker(tmp_path, "--redis-url", server.url) as running:
        wait_until(partial(is_applied, redis_client, id_in(1)))
        running.stop()
        counts = {"applied": 2, "duplicates": 1, "rejected": 1, "forwarded": 1}
        running.tells("worker_stopped", entries=4, **counts)
