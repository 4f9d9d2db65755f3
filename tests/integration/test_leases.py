"""Heartbeats and leases on a real server."""

from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest
import redis
from status_tracker.connection.url import connect, reach
from status_tracker.engine.leases import Leases
from status_tracker.keys import Keys

from tests.clusters import ServerCluster
from tests.servers import Redis, Server, binaries

TTL = 10_000
WITHIN = 9_000

MakeLeases = Callable[[str], Leases]


async def claim(leases: Leases, numbers: Iterable[int]) -> dict[int, str | redis.ResponseError]:
    """Claim leases; return what was told of them."""
    told: dict[int, str | redis.ResponseError] = {}
    await leases.claim(numbers, told.__setitem__)
    return told


@pytest.fixture
async def leases(server: Server) -> AsyncIterator[MakeLeases]:
    """Make the leases of a worker, of four partitions."""
    client = connect(server.url)
    keys = Keys("status", "single")
    yield lambda name: Leases(client, keys, 4, name=name, ttl=TTL)
    await client.close()


async def test_a_lease_has_one_owner(leases: MakeLeases, redis_client: Redis) -> None:
    """Who comes second is told who was first, and changes nothing."""
    one, two = leases("one"), leases("two")
    assert await claim(one, [0, 2]) == {0: "one", 2: "one"}
    assert await claim(two, [2, 3]) == {2: "one", 3: "two"}
    assert await two.owners() == {0: "one", 1: None, 2: "one", 3: "two"}
    assert redis_client.get("status:lease:{3}") == "two"


async def test_only_the_owner_renews_it(leases: MakeLeases, redis_client: Redis) -> None:
    """A lease that is ours is renewed; asking for another's does not keep it alive."""
    one, two = leases("one"), leases("two")
    await claim(one, [0, 1])
    redis_client.pexpire("status:lease:{0}", 5_000)
    redis_client.pexpire("status:lease:{1}", 5_000)
    await claim(one, [0])
    await claim(two, [1])
    assert redis_client.pttl("status:lease:{0}") > 5_000
    assert redis_client.pttl("status:lease:{1}") <= 5_000


async def test_only_the_owner_gives_it_back(leases: MakeLeases, redis_client: Redis) -> None:
    """A worker that was too slow must not end the lease of the one who took over."""
    one, two = leases("one"), leases("two")
    await claim(one, [0])
    await claim(two, [1])
    await two.release(range(4))
    assert await one.owners() == {0: "one", 1: None, 2: None, 3: None}


async def test_a_heartbeat_tells_who_lives(leases: MakeLeases, redis_client: Redis) -> None:
    """Scores are the server's clock in ms; who was not heard of is dropped, and may come back."""
    one, two = leases("one"), leases("two")
    assert await one.beat(WITHIN) == (["one"], False)
    seconds, micros = redis_client.time()
    now = seconds * 1000 + micros // 1000
    assert abs(redis_client.zscore("status:workers", "one") - now) < 1_000
    assert await one.beat(WITHIN) == (["one"], True)
    redis_client.zadd("status:workers", {"one": now - WITHIN - 1})
    assert await two.beat(WITHIN) == (["two"], False)
    names, known = await one.beat(WITHIN)
    assert (set(names), known) == ({"one", "two"}, False)
    await one.leave()
    assert redis_client.zrange("status:workers", 0, -1) == ["two"]


async def test_a_full_server_takes_heartbeats_and_leases(
    leases: MakeLeases, redis_client: Redis
) -> None:
    """Who owns what must not change because memory is full, nor may a stop leave leases behind."""
    one = leases("one")
    redis_client.config_set("maxmemory", 1)
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        redis_client.set("any", "key")
    assert (await one.beat(WITHIN))[0] == ["one"]
    assert await claim(one, [0]) == {0: "one"}
    await one.release([0])
    assert redis_client.exists("status:lease:{0}") == 0


async def test_a_lease_of_another_type_is_named(leases: MakeLeases, redis_client: Redis) -> None:
    """Somebody else's key is not overwritten, and the other partitions go on."""
    redis_client.hset("status:lease:{1}", "some", "thing")
    told = await claim(leases("one"), [0, 1, 2])
    assert (told[0], told[2]) == ("one", "one")
    assert "status:lease:{1} holds a hash" in str(told[1])
    assert redis_client.hgetall("status:lease:{1}") == {"some": "thing"}


async def test_a_set_of_workers_of_another_type_is_named(
    leases: MakeLeases, redis_client: Redis
) -> None:
    """It is waited for, until somebody moves it away."""
    redis_client.set("status:workers", "mine")
    with pytest.raises(redis.ResponseError, match="status:workers holds a string"):
        await leases("one").beat(WITHIN)
    assert redis_client.get("status:workers") == "mine"


async def test_a_heartbeat_of_the_future_ages(leases: MakeLeases, redis_client: Redis) -> None:
    """A clock that was set back does not keep a dead worker alive for as long as it was ahead."""
    redis_client.zadd("status:workers", {"dead": 9e15})
    await leases("one").beat(WITHIN)
    seconds, _ = redis_client.time()
    assert redis_client.zscore("status:workers", "dead") <= (seconds + 1) * 1000


@pytest.mark.parametrize("ahead", [0, 3_600_000], ids=["now", "of the future"])
async def test_a_heartbeat_among_many(leases: MakeLeases, redis_client: Redis, ahead: int) -> None:
    """Workers that crash and start under new names must not stop the others' heartbeats."""
    seconds, _ = redis_client.time()
    score = seconds * 1000 + ahead
    names = {f"worker-{number}": score for number in range(20_000)}
    redis_client.zadd("status:workers", names)
    live, known = await leases("one").beat(WITHIN)
    assert (set(live), known) == ({"one", *names}, False)
    highest = redis_client.zrange("status:workers", -1, -1, withscores=True)
    assert highest[0][1] <= (seconds + 60) * 1000


async def test_names_that_are_no_text_stop_nothing(leases: MakeLeases, redis_client: Redis) -> None:
    """Whatever somebody wrote there by hand, it is somebody's name."""
    redis_client.set("status:lease:{0}", b"\xff")
    one = leases("one")
    await one.beat(WITHIN)
    now = redis_client.zscore("status:workers", "one")
    redis_client.zadd("status:workers", {b"\xfe": now, b"\xfd": now})
    assert (await claim(one, [0, 1]))[1] == "one"
    assert set((await one.beat(WITHIN))[0]) == {"one", r"\xfe", r"\xfd"}
    assert (await one.owners())[0] == r"\xff"


async def test_in_a_cluster_each_lease_is_in_its_partitions_slot(tmp_path: Path) -> None:
    """Where one master is gone, the leases on the others can be renewed all the same."""
    options = ["--cluster-require-full-coverage", "no"]
    with ServerCluster(binaries()["valkey"], tmp_path / "cluster", *options) as cluster:
        client = await reach(cluster.seeds)
        keys = Keys("status", "cluster")
        one = Leases(client, keys, 4, name="one", ttl=TTL)
        try:
            assert await claim(one, range(4)) == dict.fromkeys(range(4), "one")
            masters = {number: cluster.master_of(keys.lease(number)) for number in range(4)}
            assert len(set(masters.values())) > 1
            cluster.replica_of(masters[0]).stop()
            cluster.kill(masters[0])
            reached = [number for number in range(4) if masters[number] is not masters[0]]
            assert await claim(one, range(4)) == dict.fromkeys(reached, "one")
        finally:
            await client.close()
