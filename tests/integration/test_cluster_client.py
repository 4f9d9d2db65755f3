"""redis-py's cluster client with our changes, on a real cluster while it is in trouble."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import RedisCluster
from status_tracker.connection.url import ANSWER_WITHIN, UNREACHABLE, Client, close, reach
from status_tracker.keys import Keys
from status_tracker.lua.script import Script

from tests.clusters import Cluster
from tests.servers import binaries

KEYS = Keys("status", "cluster")
OWN = KEYS.partition(0)


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that goes on when a part of it does not."""
    folder: Path = tmp_path_factory.mktemp("cluster")
    options = ["--cluster-require-full-coverage", "no"]
    with Cluster(binaries()["valkey"], folder, *options) as cluster:
        yield cluster


@pytest.fixture
async def client(shared_cluster: Cluster) -> AsyncIterator[Client]:
    """A worker's client."""
    client = await reach(shared_cluster.seeds)
    yield client
    await close(client)


async def test_ask_is_followed_by_any_number_at_once(
    client: Client, shared_cluster: Cluster
) -> None:
    """While a slot moves, each command and its ASKING are sent on one connection."""
    key = OWN.events
    first = await client.xadd(key, {"data": "x"})
    # As many connections as partitions would have.
    await asyncio.gather(*(client.xlen(key) for _ in range(8)))
    move = shared_cluster.begin_move(key)
    try:
        move.move_keys(1_000)
        await asyncio.gather(*(client.xadd(key, {"data": "x"}) for _ in range(8)))
        [[_, entries]] = await client.execute_command("XREAD", "STREAMS", key, first)
        assert len(entries) == 8
        script = Script("claim", flags="allow-oom")
        assert await script.run(client, [KEYS.lease(0)], ["me", "1000"]) == [b"me"]
    finally:
        move.end()
    assert await client.xlen(key) == 9


async def test_a_node_that_hangs_is_asked_last(client: Client, shared_cluster: Cluster) -> None:
    """Where the slots are now is learned from one that answers: everybody waits for it."""
    assert isinstance(client, RedisCluster)
    master = shared_cluster.master_of(OWN.events)
    replica = shared_cluster.replica_of(master)
    shared_cluster.kill(replica)  # so that the slots stay where they are
    master.signal(signal.SIGSTOP)
    try:
        with pytest.raises(UNREACHABLE):
            await client.execute_command("XLEN", OWN.events)
        async with asyncio.timeout(ANSWER_WITHIN):
            for _ in range(30):
                client._initialize = True
                await client.initialize()
    finally:
        master.signal(signal.SIGCONT)
        replica.start()
        shared_cluster.await_whole()
