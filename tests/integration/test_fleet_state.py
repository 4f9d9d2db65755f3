"""A look at a deployment on a real server: what is seen of partitions and workers."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import redis
from status_tracker.connection.client import Client as WorkerClient
from status_tracker.connection.client import Command
from status_tracker.connection.url import reach
from status_tracker.errors import ConfigError
from status_tracker.keys import GROUP, Keys, Layout
from status_tracker.metadata import ensure_deployment, read_deployment
from status_tracker.monitoring.fleet import (
    FleetState,
    PartitionState,
    RejectedState,
    Totals,
    read_fleet,
)
from status_tracker.testing.line import Line

from tests.clusters import ServerCluster
from tests.events import id_in, update
from tests.line import RULES, deployed, meta_of
from tests.servers import Redis, Server, binaries

KEYS = Keys("status", "single")
NOTHING = PartitionState(0, None, None, 0, 0, None)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[WorkerClient]:
    """The client that looks."""
    client = await reach(server.url)
    yield client
    await client.close()


async def look(client: WorkerClient, partitions: int = 1, layout: Layout = "single") -> FleetState:
    """Look at a deployment of so many partitions."""
    return await read_fleet(client, deployed(layout=layout, partitions=partitions))


async def first(client: WorkerClient) -> PartitionState:
    """Look at partition 0."""
    return (await look(client)).partitions[0]


async def created(client: WorkerClient, partitions: int, layout: Layout | Literal["auto"]) -> Keys:
    """Create a deployment; return its keys."""
    found = await ensure_deployment(
        client, "status", partitions=partitions, layout=layout, rules=RULES
    )
    return found.keys


def rules(text: str) -> dict[str, str]:
    """Return the fields that say which rules are in force."""
    return {"rules": text, "rules:1": text}


def server_now(client: Redis) -> int:
    """Return the server's time in ms."""
    seconds, micros = client.time()
    return int(seconds * 1000 + micros // 1000)


def add(client: Redis, count: int, *, seconds_ago: int = 0) -> list[str]:
    """Add updates to partition 0, which were there so long ago."""
    at = server_now(client) - 1000 * seconds_ago
    data = {"data": update(id_in(0), "pending")}
    return [str(client.xadd(KEYS.events(0), data, id=f"{at}-{n}")) for n in range(1, count + 1)]


def dump(server: Server) -> dict[bytes, object]:
    """Return every key with its content, as the server would back it up."""
    with redis.Redis.from_url(server.url) as raw:
        return {key: raw.dump(key) for key in raw.scan_iter()}


async def test_missing_keys_are_no_error(client: WorkerClient) -> None:
    """A deployment whose first worker has not begun can be looked at."""
    assert await look(client, 2) == FleetState(
        [NOTHING, PartitionState(1, None, None, 0, 0, None)], [], RejectedState(0, 0), 1
    )


async def test_lag_on_the_way(
    client: WorkerClient, redis_client: Redis, line: Callable[..., Line]
) -> None:
    """What was committed does not count any more; the oldest that is left says for how long."""
    partition = line()
    await partition.attach()
    ids = add(redis_client, 2, seconds_ago=500) + add(redis_client, 3, seconds_ago=90)
    assert (await first(client)).lag == 5
    await partition.turn(count=2)
    seen = await first(client)
    assert (seen.cursor, seen.lag) == (ids[1], 3)
    assert seen.lag_seconds == pytest.approx(90, abs=5)
    await partition.turn()
    totals = Totals(applied=1, duplicates=4)
    assert await first(client) == PartitionState(0, None, ids[-1], 0, 0, None, totals, 1)


async def test_lag_of_a_stream_without_a_group(
    client: WorkerClient, redis_client: Redis, line: Callable[..., Line]
) -> None:
    """Before a worker came, or when the group was deleted, only the waiting time is known."""
    add(redis_client, 3, seconds_ago=90)
    seen = await first(client)
    assert (seen.cursor, seen.lag) == (None, None)
    assert seen.lag_seconds == pytest.approx(90, abs=5)
    partition = line()
    await partition.attach()
    await partition.turn()
    redis_client.xgroup_destroy(KEYS.events(0), GROUP)
    seen = await first(client)
    assert (seen.lag, seen.lag_seconds) == (0, 0)


async def test_entries_deleted_unread(
    client: WorkerClient, redis_client: Redis, line: Callable[..., Line]
) -> None:
    """The server cannot count past a gap; what is gone altogether is not waited for."""
    await line().attach()
    ids = add(redis_client, 5, seconds_ago=90)
    redis_client.xdel(KEYS.events(0), ids[2])
    seen = await first(client)
    assert seen.lag is None
    assert seen.lag_seconds == pytest.approx(90, abs=5)
    redis_client.xtrim(KEYS.events(0), maxlen=0)
    seen = await first(client)
    assert (seen.lag, seen.lag_seconds) == (0, 0)


async def test_a_lost_hash(
    client: WorkerClient, redis_client: Redis, line: Callable[..., Line]
) -> None:
    """The group tells where a worker will read on, so entries that were read do not count."""
    partition = line()
    await partition.attach()
    add(redis_client, 3, seconds_ago=90)
    await partition.turn(count=2)
    redis_client.delete(KEYS.partition(0).partition)
    seen = await first(client)
    assert (seen.cursor, seen.lag) == (None, 1)
    await partition.attach()
    await partition.turn()
    redis_client.delete(KEYS.partition(0).partition)
    assert (await first(client)).lag_seconds == 0


async def test_leases(client: WorkerClient, redis_client: Redis) -> None:
    """A lease has its owner and its end; one that somebody made without an end has none."""
    redis_client.set(KEYS.lease(0), "one", px=60_000)
    redis_client.set(KEYS.lease(1), "two")
    held, endless, free = (await look(client, 3)).partitions
    assert held.owner == "one"
    assert held.lease_left == pytest.approx(60, abs=30)
    assert (endless.owner, endless.lease_left) == ("two", None)
    assert (free.owner, free.lease_left) == (None, None)


async def test_workers(client: WorkerClient, redis_client: Redis) -> None:
    """Each has its partitions and the age of its heartbeat, by the server's clock."""
    now = server_now(redis_client)
    redis_client.zadd(KEYS.workers, {"two": now - 60_000, "one": now - 20_000})
    for number, owner in enumerate(["two", "gone", "two"]):
        redis_client.set(KEYS.lease(number), owner)
    seen = await look(client, 3)
    one, two = seen.workers
    assert (one.name, one.partitions) == ("one", [])
    assert one.heartbeat_age == pytest.approx(20, abs=5)
    assert (two.name, two.partitions) == ("two", [0, 2])
    assert two.heartbeat_age == pytest.approx(60, abs=5)
    assert seen.partitions[1].owner == "gone"


class Meanwhile:
    """A client beside which something happens before the server is asked for the nth time."""

    is_cluster = False

    def __init__(self, client: WorkerClient, nth: int, happens: Callable[[], object]) -> None:
        self._client = client
        self._happens = {nth: happens}
        self._asked = 0

    async def execute(self, *command: str | bytes | int) -> Any:
        """Return the reply to a command."""
        return await self._client.execute(*command)

    async def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands."""
        self._asked += 1
        self._happens.get(self._asked, lambda: None)()
        return await self._client.execute_all(commands)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
async def test_whoever_comes_or_goes_meanwhile_is_seen_with_its_lease(
    client: WorkerClient, redis_client: Redis, nth: int
) -> None:
    """A worker that joins or leaves during a look must not seem to hold a lease without living."""

    def join() -> None:
        redis_client.zadd(KEYS.workers, {"one": server_now(redis_client)})
        redis_client.set(KEYS.lease(0), "one", px=60_000)

    def leave() -> None:
        redis_client.delete(KEYS.lease(0))
        redis_client.zrem(KEYS.workers, "one")

    for happens in (join, leave):
        seen = await look(Meanwhile(client, nth, happens))
        names = {worker.name for worker in seen.workers}
        assert {each.owner for each in seen.partitions} - {None} <= names
        happens()


async def test_rejected_entries(client: WorkerClient, redis_client: Redis) -> None:
    """What is kept and what the cap dropped; a count that somebody spoilt does not count."""
    for number, dropped in enumerate(["3", "many", "4"]):
        redis_client.hset(KEYS.partition(number).partition, "rejected_dropped", dropped)
    redis_client.xadd(KEYS.partition(0).rejected, {"reason": "stale"})
    assert (await look(client, 4)).rejected == RejectedState(kept=1, dropped=7)
    keys = Keys("status", "cluster")
    for number in range(3):
        redis_client.xadd(keys.partition(number).rejected, {"reason": "stale"})
    assert (await look(client, 4, "cluster")).rejected == RejectedState(kept=3, dropped=7)


async def test_totals(client: WorkerClient, redis_client: Redis, line: Callable[..., Line]) -> None:
    """What became of each partition's entries, what was trimmed away, and how many streams went."""
    partition = line()
    await partition.attach()
    for data in (update(id_in(0), "pending"), update(id_in(1), "pending"), "no JSON", "{}"):
        redis_client.xadd(KEYS.events(0), {"data": data})
    await partition.turn()
    for _ in range(2):
        redis_client.xadd(KEYS.events(0), {"data": "{}"})
    redis_client.xtrim(KEYS.events(0), maxlen=0)
    await partition.attach()
    rejected = {"invalid": 1, "malformed": 1}
    assert (await first(client)).totals == Totals(applied=1, forwarded=1, rejected=rejected, lost=2)
    redis_client.delete(KEYS.events(0))
    redis_client.xadd(KEYS.events(0), {"data": "{}"}, id="1-1")
    await partition.attach()
    seen, other = (await look(client, 2)).partitions
    assert (seen.totals.epoch, seen.totals.applied) == (1, 1)
    assert other.totals == Totals()


async def test_totals_that_somebody_spoilt(client: WorkerClient, redis_client: Redis) -> None:
    """A look does not fail because of them; a reason is whatever stands there."""
    spoilt = {
        "applied": "many",
        "lost": "-1",
        "epoch": "",
        b"rejected:\xff": "7",
        "from:1": "0/1-1",
    }
    redis_client.hset(KEYS.partition(0).partition, mapping=spoilt)
    assert (await first(client)).totals == Totals(rejected={r"\xff": 7})


async def test_bytes_that_are_no_text(
    client: WorkerClient, redis_client: Redis, line: Callable[..., Line]
) -> None:
    """They are shown as what they are; for a cursor that is none, the group says where it was."""
    partition = line()
    await partition.attach()
    add(redis_client, 3, seconds_ago=90)
    await partition.turn(count=2)
    redis_client.hset(KEYS.partition(0).partition, "cursor", b"\xff")
    redis_client.set(KEYS.lease(0), b"\xfe", px=60_000)
    redis_client.zadd(KEYS.workers, {b"\xfe": 1, b"\xfd": 1})
    seen = await look(client)
    [state] = seen.partitions
    assert (state.owner, state.cursor, state.lag) == (r"\xfe", r"\xff", 1)
    assert state.lag_seconds == pytest.approx(90, abs=5)
    assert [(worker.name, worker.partitions) for worker in seen.workers] == [
        (r"\xfd", []),
        (r"\xfe", [0]),
    ]


@pytest.mark.parametrize("key", [KEYS.lease(0), KEYS.workers, KEYS.partition(0).rejected])
async def test_a_key_of_another_type_is_named(
    client: WorkerClient, redis_client: Redis, key: str
) -> None:
    """Who looks learns which key is in the way."""
    redis_client.lpush(key, "mine")
    with pytest.raises(redis.ResponseError, match=rf"{re.escape(key)}.*: WRONGTYPE"):
        await first(client)


async def test_nothing_is_written(
    server: Server, redis_client: Redis, line: Callable[..., Line]
) -> None:
    """A look needs no right to write, and leaves every key as it was."""
    await line().attach()
    add(redis_client, 3)
    redis_client.set(KEYS.lease(0), "one")
    redis_client.zadd(KEYS.workers, {"one": 1})
    redis_client.hset(KEYS.meta, mapping=meta_of(deployed(partitions=2)))
    redis_client.acl_setuser(
        "viewer",
        enabled=True,
        passwords=["+s3cret"],
        keys=["%R~status:*"],
        commands=["+@read", "+@connection", "+info", "+time"],
    )
    before = dump(server)
    client = await reach(server.url.replace("//", "//viewer:s3cret@"))
    try:
        seen = await read_fleet(client, await read_deployment(client, "status"))
    finally:
        await client.close()
        redis_client.acl_deluser("viewer")
    assert [each.lag for each in seen.partitions] == [3, 0]
    assert dump(server) == before


async def test_the_cluster_layout_on_one_server(
    client: WorkerClient, redis_client: Redis, line: Callable[..., Line]
) -> None:
    """A deployment that will grow into a cluster looks the same."""
    keys = await created(client, 4, "cluster")
    partition = line(number=2, layout="cluster")
    await partition.attach()
    redis_client.xadd(keys.events(2), {"data": update(id_in(2), "pending")})
    redis_client.set(keys.lease(2), "one", px=60_000)
    found = await read_deployment(client, "status")
    assert (found.keys.layout, found.partitions) == ("cluster", 4)
    seen = (await read_fleet(client, found)).partitions
    assert [each.lag for each in seen] == [0, 0, 1, 0]
    assert [each.owner for each in seen] == [None, None, "one", None]


async def test_a_real_cluster(tmp_path: Path) -> None:
    """Partitions are looked at wherever their slots are."""
    partitions = 8
    with ServerCluster(binaries()["valkey"], tmp_path) as cluster:
        client = await reach(cluster.url)
        try:
            keys = await created(client, partitions, "auto")
            for number in range(partitions):
                stream = keys.events(number)
                await client.execute(
                    *("XGROUP", "CREATE", stream, GROUP, "0-0", "MKSTREAM", "ENTRIESREAD", 0)
                )
                for _ in range(number):
                    await client.execute("XADD", stream, "*", "data", "{}")
                owner = f"worker-{number % 2}"
                await client.execute("SET", keys.lease(number), owner, "PX", 60_000)
            await client.execute("ZADD", keys.workers, 1, "worker-0", 1, "worker-1")
            seen = await read_fleet(client, await read_deployment(client, "status"))
        finally:
            await client.close()
        masters = {cluster.master_of(keys.events(number)).port for number in range(partitions)}
    assert len(masters) > 1
    assert [each.lag for each in seen.partitions] == list(range(partitions))
    assert seen.workers[1].partitions == [1, 3, 5, 7]


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({}, "no deployment with prefix status: start a worker first"),
        ({"version": None}, "version: status:meta has no such field: restore it"),
        ({"version": "1"}, "version: status:meta is of the first release"),
        ({"version": "3"}, "version: configured is 2, .* created with 3"),
        ({"revision": None}, "revision: status:meta has no such field"),
        ({"revision": "some"}, "revision: status:meta says some"),
        ({"revision": "2"}, "rules: status:meta does not have the same in rules and in rules:2"),
        ({"rules": None}, "rules: status:meta has no such field"),
        ({"rules": "{}"}, "rules: status:meta does not have the same in rules and in rules:1"),
        (rules("{"), "rules: status:meta has none that this release can read .*truncated"),
        (rules("[]"), "rules: status:meta has none that this release can read"),
        (rules('{"max_lag":1}'), "rules: status:meta has none .* run a release that can"),
        ({"layout": "ring"}, "layout: status:meta says ring"),
        ({"partitions": "some"}, "partitions: status:meta says some"),
        ({"partitions": "0"}, "partitions: status:meta says 0"),
    ],
)
async def test_a_deployment_that_cannot_be_looked_at(
    client: WorkerClient, redis_client: Redis, meta: dict[str, str | None], says: str
) -> None:
    """It is refused in one line that says why, and none is created."""
    if meta:
        fields = meta_of(deployed(partitions=4)) | meta
        there = {field: value for field, value in fields.items() if value is not None}
        redis_client.hset(KEYS.meta, mapping=there)
    before = redis_client.hgetall(KEYS.meta)
    with pytest.raises(ConfigError, match=says):
        await read_deployment(client, "status")
    assert redis_client.hgetall(KEYS.meta) == before


async def test_a_meta_key_of_another_type(client: WorkerClient, redis_client: Redis) -> None:
    """Somebody else's key under the prefix is named."""
    redis_client.set(KEYS.meta, "mine")
    with pytest.raises(ConfigError, match="status:meta is not the hash of a deployment"):
        await read_deployment(client, "status")
