"""The cluster's client, on a real cluster while it is in trouble."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.exceptions import ResponseError
from status_tracker.connection.client import ANSWER_WITHIN, UNREACHABLE, Client
from status_tracker.connection.url import reach
from status_tracker.keys import Keys
from status_tracker.lua.claim import claim

from tests.clusters import ServerCluster
from tests.servers import binaries

KEYS = Keys("status", "cluster")
OWN = KEYS.partition(0)


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerCluster]:
    """A cluster that goes on when a part of it does not."""
    folder: Path = tmp_path_factory.mktemp("cluster")
    options = ["--cluster-require-full-coverage", "no"]
    with ServerCluster(binaries()["valkey"], folder, *options) as cluster:
        yield cluster


@pytest.fixture
async def client(shared_cluster: ServerCluster) -> AsyncIterator[Client]:
    """A worker's client."""
    client = await reach(shared_cluster.seeds)
    yield client
    await client.close()


async def test_ask_is_followed_by_any_number_at_once(
    client: Client, shared_cluster: ServerCluster
) -> None:
    """While a slot moves, each command and its ASKING are sent on one connection."""
    key = OWN.events
    first = await client.execute("XADD", key, "*", "data", "x")
    # As many connections as partitions would have.
    await asyncio.gather(*(client.execute("XLEN", key) for _ in range(8)))
    move = shared_cluster.begin_move(key)
    try:
        move.move_keys(1_000)
        adding = (client.execute("XADD", key, "*", "data", "x") for _ in range(8))
        await asyncio.gather(*adding)
        [[_, entries]] = await client.execute("XREAD", "STREAMS", key, first)
        assert len(entries) == 8
        lease = KEYS.lease(0)
        assert await claim(client, leases=[lease], name="me", ttl=1000) == ["me"]
    finally:
        move.end()
    assert await client.execute("XLEN", key) == 9


async def test_commands_in_one_go_find_their_nodes(client: Client) -> None:
    """Replies come in the order of the commands, whichever nodes they went to."""
    keys = [f"{{{number}}}" for number in range(20)]
    await client.execute_all([("SET", key, number) for number, key in enumerate(keys)])
    replies = await client.execute_all([*(("GET", key) for key in keys), ("HGET", keys[0], "f")])
    assert replies[:-1] == [str(number).encode() for number in range(20)]
    assert isinstance(replies[-1], ResponseError)


async def test_a_node_that_hangs_is_asked_last(
    client: Client, shared_cluster: ServerCluster
) -> None:
    """Where the slots are now is learned from one that answers: everybody waits for it."""
    master = shared_cluster.master_of(OWN.events)
    other = next(
        key
        for number in range(99)
        if shared_cluster.master_of(key := KEYS.events(number)) is not master
    )
    replica = shared_cluster.replica_of(master)
    shared_cluster.kill(replica)  # so that the slots stay where they are
    master.signal(signal.SIGSTOP)
    try:
        # Each of these makes the next command look for the slots first.
        for _ in range(2):
            with pytest.raises(UNREACHABLE):
                await client.execute("XLEN", OWN.events)
            async with asyncio.timeout(ANSWER_WITHIN / 2):
                await client.execute("XLEN", other)
    finally:
        master.signal(signal.SIGCONT)
        replica.start()
        shared_cluster.await_whole()
