"""What producers say, on a real server, by both shells."""

import asyncio
import json
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from status_tracker import (
    AsyncEmitter,
    BacklogError,
    ConfigError,
    Emitter,
    TaskUpdate,
    UnavailableError,
    UpdateError,
)
from status_tracker.keys import GROUP, partition_of

from tests.events import NOW
from tests.line import deployed, meta_of
from tests.proxy import Proxy
from tests.servers import Redis, Server, free_port, replica_of, wait_until
from tests.shells import Shell

KEYS = deployed(partitions=4).keys


@pytest.fixture(autouse=True)
def _deployment(request: pytest.FixtureRequest) -> None:
    """What the first worker writes, on the server of the test."""
    for name in {"own_server", "server"} & set(request.fixturenames):
        with request.getfixturevalue(name).client() as client:
            client.hset("status:meta", mapping=meta_of(deployed(partitions=4)))


def added(client: Redis) -> list[dict[str, Any]]:
    """Return all updates in the streams, by their time; those of an entity must stand in order."""
    found = []
    for number in range(4):
        updates = [json.loads(data["data"]) for _, data in client.xrange(KEYS.events(number))]
        assert all(partition_of(each["id"], 4) == number for each in updates)
        found += updates
    by_time = sorted(found, key=lambda each: float(each["updatedAt"]))
    for entity in {each["id"] for each in found}:
        own = [[each for each in some if each["id"] == entity] for some in (found, by_time)]
        assert own[0] == own[1]
    return by_time


def test_updates_are_added_to_their_streams(
    shell: Shell, server: Server, redis_client: Redis
) -> None:
    """In each form that a producer may like, with the time at which they were said."""
    emitter = shell.emitter(server.url)
    entry = emitter.task("export-17", "failed", progress=0.4, error_message="no disk", attempt=2)
    emitter.asset("v", "ready", force=True)
    emitter.emit("task", "b", "pending", restart=True)
    emitter.emit(TaskUpdate(id="c", phase="pending", updated_at=NOW))
    emitter.emit_many([TaskUpdate(id="d", phase="pending")])
    stream = KEYS.events(partition_of("export-17", 4))
    assert redis_client.xrange(stream, entry, entry)
    found = added(redis_client)
    assert found.pop(0) == {"kind": "task", "id": "c", "phase": "pending", "updatedAt": NOW}
    times = [each.pop("updatedAt") for each in found]
    assert times == sorted(set(times))
    failed = {"progress": 0.4, "errorMessage": "no disk", "attempt": 2}
    assert found == [
        {"kind": "task", "id": "export-17", "phase": "failed", **failed},
        {"kind": "asset", "id": "v", "phase": "ready", "force": True},
        {"kind": "task", "id": "b", "phase": "pending", "restart": True},
        {"kind": "task", "id": "d", "phase": "pending"},
    ]
    with pytest.raises(UpdateError, match='phase: "redy"; must be uploading, '):
        emitter.asset("v", "redy")


def test_entities_are_removed(shell: Shell, server: Server, redis_client: Redis) -> None:
    """By one entry in the stream of each partition; none where one cannot be an id."""
    emitter = shell.emitter(server.url)
    ids = [f"t-{number}" for number in range(20)]
    assert emitter.remove("task", iter([*ids, ids[0]])) == 20
    with pytest.raises(UpdateError, match="id: 'a b'; must be text"):
        emitter.remove("task", ["a", "a b"])
    for number in range(4):
        [(_, fields)] = redis_client.xrange(KEYS.events(number))
        own = [each for each in ids if partition_of(each, 4) == number]
        assert fields == {
            "remove": json.dumps([["task", each] for each in own], separators=(",", ":"))
        }


@pytest.mark.parametrize("many", [False, True])
def test_lost_connections_lose_nothing_and_add_nothing_twice(
    shell: Shell, own_server: Server, many: bool
) -> None:
    """Whether the server did what it was told before, or not."""
    ids = [f"t-{number}" for number in range(60)]
    with Proxy(own_server) as proxy, own_server.client() as client:
        emitter = shell.emitter(proxy.url)
        for number, each in enumerate(ids):
            if number % 6 == 0:
                proxy.swallow_reply_to(b"XADD")
            if number % 10 == 0:
                proxy.cut()
            if many:
                life = [{"kind": "task", "id": each, "phase": phase} for phase in LIFE]
                assert emitter.emit_many(life) == len(LIFE)
            else:
                emitter.task(each, "pending")
        assert proxy.swallowed == 10
        found = [(each["id"], each["phase"]) for each in added(client)]
        phases = LIFE if many else ["pending"]
        assert found == [(each, phase) for each in ids for phase in phases]


LIFE = ["pending", "waiting", "running", "failed", "waiting", "running", "completed"]


def test_a_server_that_is_away_is_waited_for(shell: Shell, own_server: Server) -> None:
    """For as long as was said; after that the producer hears of it."""
    emitter = shell.emitter(own_server.url, retry_for=60)
    hasty = shell.emitter(own_server.url, retry_for=0.05)
    emitter.task("a", "pending")
    hasty.task("b", "pending")
    own_server.stop()
    with pytest.raises(UnavailableError, match=r"^redis://127\.0\.0\.1"):
        hasty.task("b", "waiting")
    starting = threading.Timer(1.0, own_server.start)
    starting.start()
    emitter.task("a", "waiting")
    starting.join()
    with own_server.client() as client:
        assert [(each["id"], each["phase"]) for each in added(client)] == [
            ("a", "pending"),
            ("b", "pending"),
            ("a", "waiting"),
        ]


def test_no_deployment_is_told(shell: Shell, server: Server) -> None:
    """Before the first worker there are no rules to check by, and no number of streams."""
    with pytest.raises(ConfigError, match="no deployment with prefix jobs"):
        shell.emitter(server.url, prefix="jobs").task("a", "pending")


def test_a_full_server_is_told_at_once(shell: Shell, server: Server, redis_client: Redis) -> None:
    """To try again would not help: what it says is said."""
    emitter = shell.emitter(server.url)
    emitter.task("a", "pending")
    redis_client.config_set("maxmemory", 1)
    with pytest.raises(UnavailableError, match="command not allowed"):
        emitter.task("a", "waiting")


def test_replicas_are_waited_for(shell: Shell, server: Server, tmp_path: Path) -> None:
    """An update that no replica has yet is told; it is in the stream all the same."""
    emitter = shell.emitter(server.url, wait_replicas=1)
    with pytest.raises(UnavailableError, match="added, but 0 of 1 replicas had it"):
        emitter.task("a", "pending")
    with replica_of(server, tmp_path) as replica, replica.client() as client:
        emitter.task("a", "waiting")
        assert [each["phase"] for each in added(client)] == ["pending", "waiting"]


def test_a_backlog_is_measured_by_the_workers_group(
    shell: Shell, server: Server, redis_client: Redis
) -> None:
    """What they have read counts no more; who waits goes on as soon as there is room."""
    stream = KEYS.events(partition_of("a", 4))
    redis_client.xgroup_create(stream, GROUP, "0", mkstream=True)
    emitter = shell.emitter(server.url, max_backlog=3)
    for number in range(3):
        emitter.task("a", "pending", progress=number / 10)
    with pytest.raises(BacklogError, match="has 3 unread entries"):
        emitter.task("a", "waiting")
    patient = shell.emitter(server.url, max_backlog=3, backlog_timeout=20)

    def read() -> None:
        redis_client.execute_command("XGROUP", "SETID", stream, GROUP, "$", "ENTRIESREAD", 3)

    reading = threading.Timer(0.2, read)
    reading.start()
    patient.task("a", "waiting")
    reading.join()
    assert len(added(redis_client)) == 4


def test_threads_share_an_emitter(server: Server, redis_client: Redis) -> None:
    """Each command has a connection for itself, and times are never the same."""
    with Emitter(server.url) as emitter, ThreadPoolExecutor(8) as threads:

        def work(number: int) -> None:
            for phase in LIFE:
                emitter.task(f"t-{number}", phase)

        list(threads.map(work, range(40)))
    found = added(redis_client)
    assert len({each["updatedAt"] for each in found}) == 40 * len(LIFE)
    for number in range(40):
        assert [each["phase"] for each in found if each["id"] == f"t-{number}"] == LIFE


async def test_two_emitters_in_one_loop(server: Server, redis_client: Redis) -> None:
    """Hundreds of commands at once take a bounded number of connections."""
    before = redis_client.info("clients")["connected_clients"]
    async with AsyncEmitter(server.url) as one, AsyncEmitter(server.url) as two:
        saying = [
            emitter.task(f"{name}-{number}", "pending")
            for number in range(200)
            for name, emitter in (("one", one), ("two", two))
        ]
        await asyncio.gather(*saying)
        assert redis_client.info("clients")["connected_clients"] - before <= 32
    assert len(added(redis_client)) == 400


async def test_a_cancelled_emit_spoils_nothing(server: Server, redis_client: Redis) -> None:
    """The next one does not read the reply that was for it."""
    async with AsyncEmitter(server.url) as emitter:
        for number in range(30):
            saying = asyncio.create_task(emitter.task(f"t-{number}", "pending"))
            for _ in range(number % 6):
                await asyncio.sleep(0)
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)
            entry = await emitter.task(f"u-{number}", "pending")
            stream = KEYS.events(partition_of(f"u-{number}", 4))
            [(_, fields)] = redis_client.xrange(stream, entry, entry)
            assert json.loads(fields["data"])["id"] == f"u-{number}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_shares_no_connection(server: Server, redis_client: Redis) -> None:
    """A child that says something does not read its parent's replies, nor the other way."""
    emitter = Emitter(server.url)
    emitter.task("parent", "pending")
    child = os.fork()
    if not child:
        emitter.task("child", "pending")
        os._exit(0)
    emitter.task("parent", "waiting")
    assert os.waitpid(child, 0)[1] == 0
    emitter.task("parent", "running")
    emitter.close()
    found = added(redis_client)
    assert [each["phase"] for each in found if each["id"] == "parent"] == [
        "pending",
        "waiting",
        "running",
    ]
    assert [each["phase"] for each in found if each["id"] == "child"] == ["pending"]


def test_a_reporter_tells_of_its_work(server: Server, redis_client: Redis) -> None:
    """From the first phase to the last, and of the exception that ended it."""
    with Emitter(server.url) as emitter:
        with emitter.report("a", begin=True, attempt=1) as task:
            assert list(task.track("ab")) == ["a", "b"]
        with pytest.raises(OSError, match="no disk"), emitter.report("b") as task:
            raise OSError("no disk")
        with emitter.report("v", kind="asset", running="processing", completed="ready"):
            pass
    told = [(each["id"], each["phase"], each.get("progress")) for each in added(redis_client)]
    assert told == [
        ("a", "pending", None),
        ("a", "waiting", None),
        ("a", "running", None),
        ("a", "running", 0.5),
        ("a", "running", 1.0),
        ("a", "completed", None),
        ("b", "running", None),
        ("b", "failed", None),
        ("v", "processing", None),
        ("v", "ready", None),
    ]


async def test_a_reporter_tells_of_its_work_with_await(server: Server, redis_client: Redis) -> None:
    """The same, also over an iterator that has to be awaited, and where it is cancelled."""

    async def parts() -> Any:
        for part in "ab":
            yield part

    async with AsyncEmitter(server.url) as emitter:
        async with emitter.report("a", begin=True) as task:
            assert [part async for part in task.track(parts(), total=2)] == ["a", "b"]

        begun = asyncio.Event()

        async def hang() -> None:
            async with emitter.report("b"):
                begun.set()
                await asyncio.sleep(60)

        hanging = asyncio.create_task(hang())
        await begun.wait()
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
    told = [(each["id"], each["phase"]) for each in added(redis_client)]
    assert told[-3:] == [("a", "completed"), ("b", "running"), ("b", "failed")]


def test_a_long_step_is_not_taken_for_stalled(server: Server, redis_client: Redis) -> None:
    """While the work says nothing, it is said that it goes on; afterwards, nothing more is."""
    threads = set(threading.enumerate())
    with Emitter(server.url) as emitter:
        with emitter.report("a", heartbeat=0.05):
            wait_until(lambda: len(added(redis_client)) >= 4)
        count = len(added(redis_client))
        wait_until(lambda: set(threading.enumerate()) <= threads)
        assert len(added(redis_client)) == count
    assert {each["phase"] for each in added(redis_client)[:-1]} == {"running"}


async def test_a_heartbeat_with_await(server: Server, redis_client: Redis) -> None:
    """Its task ends with the work."""
    tasks = asyncio.all_tasks()
    async with AsyncEmitter(server.url) as emitter:
        async with emitter.report("a", heartbeat=0.05):
            await asyncio.to_thread(wait_until, lambda: len(added(redis_client)) >= 4)
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(wait_until, lambda: asyncio.all_tasks(loop) == tasks)


def test_work_goes_on_without_a_server(
    own_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """What there was to say is said when it is back, in order; the log says so once."""
    caplog.set_level(logging.WARNING)
    with own_server.client() as client:
        emitter = Emitter(own_server.url, retry_for=0.1)
        emitter.task("first", "pending")
        own_server.stop()
        for number in range(3):
            with emitter.report(f"t-{number}", begin=True) as task:
                for _ in task.track(range(50)):
                    pass
        assert len(caplog.records) == 1
        own_server.start()
        emitter.close(timeout=20)
        told = [(each["id"], each["phase"]) for each in added(client)]
    way = ["pending", "waiting", "running", "completed"]
    assert told[1:] == [(f"t-{number}", phase) for number in range(3) for phase in way]


def test_a_reporter_that_is_strict_raises() -> None:
    """Where the work is worth nothing if it is not told; the work's own error goes first."""
    emitter = Emitter(f"redis://127.0.0.1:{free_port()}/0", retry_for=0.05)
    with pytest.raises(UnavailableError), emitter.report("a", strict=True):
        pass
    quiet = emitter.report("a")
    with pytest.raises(OSError, match="no disk"), quiet:
        raise OSError("no disk")
    emitter.close(timeout=0.1)
