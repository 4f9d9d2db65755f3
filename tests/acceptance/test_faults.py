"""What the server and its operators do to a running worker."""

import json
import signal
import socket
from pathlib import Path

import pytest
from status_tracker.keys import Keys

from tests.acceptance.producers import produce
from tests.acceptance.tracker import assert_as_modelled, drained, tracker
from tests.events import NOW, add, id_in, update
from tests.servers import Redis, Server, wait_until

SINGLE = Keys("status", "single")

STOPS_WITHIN = 3.0
"""Seconds: less than those after which a connection counts as lost."""


def test_a_flushed_database_starts_over(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """After FLUSHDB no status comes back from memory, and the next updates are read."""
    task = id_in(0)
    with tracker(tmp_path, "--redis-url", server.url) as running:
        add(redis_client, update(task, "pending"), keys=SINGLE)
        add(redis_client, update(task, "waiting"), keys=SINGLE)
        wait_until(lambda: redis_client.exists(f"status:task:{task}"))
        redis_client.flushdb()
        add(redis_client, update(task, "running"), keys=SINGLE)
        wait_until(lambda: redis_client.xlen("status:rejected"))
        assert not redis_client.exists(f"status:task:{task}")
        [(_, rejected)] = redis_client.xrange("status:rejected")
        assert rejected["reason"] == "unknown_entity"
        wait_until(lambda: drained(redis_client, SINGLE) and redis_client.exists("status:meta"))
        assert len(running.events("keys_created", partition=0)) == 1, "at the start"
        assert len(running.events("keys_recreated", partition=0)) == 1, "after the flush"
        code = running.stop()
    assert code == 0
    assert_as_modelled(redis_client, SINGLE)


@pytest.mark.parametrize("key", ["status:events:{0}", "status:partition:{0}", "status:meta"])
def test_a_key_deleted_while_idle_is_recreated(
    server: Server, redis_client: Redis, tmp_path: Path, key: str
) -> None:
    """Nothing loops and nothing waits for ever when one of our keys is deleted."""
    task = id_in(0)
    with tracker(tmp_path, "--redis-url", server.url):
        add(redis_client, update(task, "pending"), keys=SINGLE)
        wait_until(lambda: redis_client.exists(f"status:task:{task}"))
        redis_client.delete(key)
        add(redis_client, update(task, "waiting", NOW + 1), keys=SINGLE)
        wait_until(lambda: redis_client.hget("status:counts:task", "waiting") == "1")
        wait_until(lambda: drained(redis_client, SINGLE))
    assert redis_client.xlen("status:changes") == 2


def test_a_destroyed_group_is_recreated(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """No loop on NOGROUP: the group is only a mirror of the cursor."""
    with tracker(tmp_path, "--redis-url", server.url):
        wait_until(lambda: drained(redis_client, SINGLE))
        for number in range(4):
            redis_client.xgroup_destroy(SINGLE.events(number), "tracker")
        produce(redis_client, SINGLE, seed=1, count=500)
        wait_until(lambda: drained(redis_client, SINGLE))
    assert_as_modelled(redis_client, SINGLE)


@pytest.mark.parametrize("text", ["garbage", None])
def test_a_status_changed_by_hand_is_seen(
    server: Server, redis_client: Redis, tmp_path: Path, text: str | None
) -> None:
    """A worker that knows an entity overwrites no text that it did not write, and revives none."""
    task = id_in(0)
    key = f"status:task:{task}"
    with tracker(tmp_path, "--redis-url", server.url) as running:
        add(redis_client, update(task, "pending"), keys=SINGLE)
        wait_until(lambda: redis_client.exists(key))
        if text is None:
            redis_client.delete(key)
        else:
            redis_client.set(key, text)
        add(redis_client, update(task, "waiting", NOW + 1), keys=SINGLE)
        wait_until(lambda: redis_client.xlen("status:rejected"))
        running.tells("status_conflict", key=key)
    [(_, rejected)] = redis_client.xrange("status:rejected")
    assert rejected["reason"] == ("corrupt_state" if text else "unknown_entity")
    assert redis_client.get(key) == text


def test_a_restored_backup_is_read_on_from(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """A restore moves the cursor back while nothing comes: memory must not outlive the keys."""
    task = id_in(0)
    with tracker(tmp_path, "--redis-url", server.url):
        add(redis_client, update(task, "pending"), keys=SINGLE)
        wait_until(lambda: redis_client.exists(f"status:task:{task}"))
        backup = {key: redis_client.dump(key) for key in redis_client.scan_iter()}
        add(redis_client, update(task, "waiting", NOW + 1), keys=SINGLE)
        add(redis_client, update(task, "running", NOW + 2), keys=SINGLE)
        wait_until(lambda: '"running"' in str(redis_client.get(f"status:task:{task}")))
        restore = redis_client.pipeline(transaction=True)
        restore.flushdb()
        for key, value in backup.items():
            restore.restore(key, 0, value)
        restore.execute()
        add(redis_client, update(task, "failed", NOW + 3), keys=SINGLE)
        wait_until(lambda: redis_client.hget("status:counts:task", "failed") == "1")
    last = redis_client.xrevrange("status:changes", count=1)[0][1]["data"]
    assert json.loads(last)["from"] == "pending"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restarted_server_is_waited_for(
    own_server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    """The outage is said once and its end once; the work goes on where the cursor is."""
    with tracker(tmp_path, "--redis-url", own_server.url) as running:
        with own_server.client() as client:
            produce(client, SINGLE, seed=1, count=5_000)
            wait_until(lambda: client.xlen("status:changes"))
        own_server.stop(number)
        running.tells("server_unavailable")
        own_server.start()
        with own_server.client() as client:
            produce(client, SINGLE, seed=2, count=1_000)
            wait_until(lambda: drained(client, SINGLE))
            assert_as_modelled(client, SINGLE)
        running.tells("server_available")
        code = running.stop()
    assert code == 0
    assert len(running.events("server_unavailable")) == 1
    assert len(running.events("server_available")) == 1


def test_a_server_that_comes_later_is_waited_for(own_server: Server, tmp_path: Path) -> None:
    """The order in which services start is nobody's business; a stop works while waiting, too."""
    own_server.stop()
    with tracker(tmp_path, "--redis-url", own_server.url) as waiting:
        waiting.tells("server_unavailable")
        code = waiting.stop()
        assert code == 0
    with tracker(tmp_path, "--redis-url", own_server.url) as waiting:
        waiting.tells("server_unavailable")
        own_server.start()
        waiting.reads(0, 1, 2, 3)
    assert "Traceback" not in waiting.log


def test_a_full_server_is_waited_for(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """`maxmemory` is said, nothing is half-written, and the work goes on when there is room."""
    with tracker(tmp_path, "--redis-url", server.url) as running:
        wait_until(lambda: drained(redis_client, SINGLE))
        produce(redis_client, SINGLE, seed=1, count=200)
        redis_client.config_set("maxmemory", 1)
        running.tells("server_unavailable", error="OutOfMemoryError")
        redis_client.config_set("maxmemory", 0)
        produce(redis_client, SINGLE, seed=2, count=2_000)
        wait_until(lambda: drained(redis_client, SINGLE))
        running.tells("server_available")
    assert_as_modelled(redis_client, SINGLE)


def test_a_key_of_another_type_is_waited_for(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """It is named, nothing is overwritten, and the partition goes on when it is moved away."""
    redis_client.set("status:changes", "mine")
    with tracker(tmp_path, "--redis-url", server.url) as running:
        produce(redis_client, SINGLE, seed=1, count=500)
        running.says("status:changes holds a string where a stream belongs: move it away")
        assert redis_client.rename("status:changes", "mine")
        wait_until(lambda: drained(redis_client, SINGLE))
    redis_client.delete("mine")
    assert_as_modelled(redis_client, SINGLE)
    assert "Traceback" not in running.log


def test_dropped_connections_are_no_matter(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """CLIENT KILL of every connection in the middle of the work loses and repeats nothing."""
    with tracker(tmp_path, "--redis-url", server.url):
        for seed in range(10):
            produce(redis_client, SINGLE, seed=seed, count=2_000)
            redis_client.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: drained(redis_client, SINGLE))
    assert_as_modelled(redis_client, SINGLE)


def test_odd_entries_are_kept_and_stop_nothing(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """No `data`, binary, 10 MB, 1,000 fields: each has its reason, and what follows is applied."""
    stream = "status:events:{0}"
    fields = {f"field{number}": "x" for number in range(1_000)}
    with tracker(tmp_path, "--redis-url", server.url):
        redis_client.xadd(stream, {"payload": "x"})
        redis_client.xadd(stream, {"data": bytes(range(256))})
        redis_client.xadd(stream, {"data": b"x" * 10_000_000})
        redis_client.xadd(stream, fields)
        redis_client.xadd(stream, {**fields, "data": update(id_in(0), "pending")})
        wait_until(lambda: drained(redis_client, SINGLE))
    assert_as_modelled(redis_client, SINGLE)
    entries = [fields for _, fields in redis_client.xrange("status:rejected")]
    assert [entry["reason"] for entry in entries] == [
        "malformed",
        "malformed",
        "oversized",
        "malformed",
    ]
    assert "payload" in entries[0]["detail"]
    assert "65536" in entries[2]["detail"]
    assert entries[2]["data"] == "x" * 65_536
    assert redis_client.exists(f"status:task:{id_in(0)}")


def test_a_stop_does_not_wait_for_a_hung_server(own_server: Server, tmp_path: Path) -> None:
    """A server that hangs in the middle of the work cannot hold up a stop."""
    with tracker(tmp_path, "--redis-url", own_server.url) as running:
        running.reads(0, 1, 2, 3)
        own_server.signal(signal.SIGSTOP)
        try:
            assert running.stop(within=STOPS_WITHIN) == 0
        finally:
            own_server.signal(signal.SIGCONT)


def test_a_stop_does_not_wait_for_a_server_that_never_answered(tmp_path: Path) -> None:
    """Nor can one that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(15)
        port = silent.getsockname()[1]
        with tracker(tmp_path, "--redis-url", f"redis://127.0.0.1:{port}") as starting:
            connection, _ = silent.accept()
            with connection:
                assert starting.stop(within=STOPS_WITHIN) == 0


def test_every_partition_has_a_connection(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """More partitions than a client's pool has connections by default: 100."""
    produce(redis_client, SINGLE, seed=1, count=1_000, partitions=150)
    with tracker(tmp_path, "--redis-url", server.url, "--partitions", "150"):
        # Over TLS, redis-py reads the system's certificates again for each of them.
        wait_until(lambda: drained(redis_client, SINGLE, 150), within=60)
    assert_as_modelled(redis_client, SINGLE, 150)


def test_a_cursor_that_is_no_text_is_waited_out(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Whatever somebody writes into the hash, the worker says what to mend and goes on."""
    own = SINGLE.partition(0)
    with tracker(tmp_path, "--redis-url", server.url) as running:
        wait_until(lambda: drained(redis_client, SINGLE))
        cursor = redis_client.hget(own.partition, "cursor")
        redis_client.hset(own.partition, "cursor", b"\xff")
        add(redis_client, update(id_in(0), "pending"), keys=SINGLE)
        running.says("holds the cursor")
        redis_client.hset(own.partition, "cursor", cursor)
        wait_until(lambda: redis_client.exists(f"status:task:{id_in(0)}"))
