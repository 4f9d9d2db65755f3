"""What everyone who connects must agree on."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from status_tracker.connection.client import Client as WorkerClient
from status_tracker.connection.url import connect
from status_tracker.errors import ConfigError
from status_tracker.metadata import ensure_deployment

from tests.servers import Redis, Server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[WorkerClient]:
    """A worker's client."""
    client = connect(server.url)
    yield client
    await client.close()


async def test_the_first_to_connect_writes_it(client: WorkerClient, redis_client: Redis) -> None:
    """The meta key says what the deployment was created with."""
    keys = await ensure_deployment(client, "jobs", 8, "cluster")
    assert redis_client.hgetall("jobs:meta") == {
        "version": "1",
        "partitions": "8",
        "layout": "cluster",
    }
    assert keys.layout == "cluster"


@pytest.mark.parametrize(
    ("field", "there", "named"),
    [
        ("partitions", "8", "configured is 4.*created with 8"),
        ("layout", "cluster", "configured is single.*created with cluster"),
        ("version", "2", "configured is 1.*created with 2"),
    ],
)
async def test_another_deployment_is_refused_with_both_values(
    client: WorkerClient, redis_client: Redis, field: str, there: str, named: str
) -> None:
    """A worker with other values would read other streams, so it must not begin."""
    await ensure_deployment(client, "status", 4, "single")
    redis_client.hset("status:meta", field, there)
    with pytest.raises(ConfigError, match=f"{field}: {named}"):
        await ensure_deployment(client, "status", 4, "single")


async def test_auto_takes_the_layout_that_is_there(client: WorkerClient) -> None:
    """`auto` is `single` on a new server, and what the deployment was created with afterwards."""
    assert (await ensure_deployment(client, "one", 4, "auto")).layout == "single"
    await ensure_deployment(client, "two", 4, "cluster")
    assert (await ensure_deployment(client, "two", 4, "auto")).layout == "cluster"


async def test_a_meta_key_of_another_kind_is_named(
    client: WorkerClient, redis_client: Redis
) -> None:
    """Somebody else's key under our prefix is refused, not overwritten."""
    redis_client.set("status:meta", "mine")
    with pytest.raises(ConfigError, match="status:meta"):
        await ensure_deployment(client, "status", 4, "single")
    assert redis_client.get("status:meta") == "mine"


@pytest.mark.parametrize(
    ("info", "named"),
    [
        ("redis_version:6.2.14\r\nredis_mode:standalone", "Redis 6.2.14; needed is Redis 7.0"),
        ("redis_version:7.2.4\r\ncluster_enabled:1", "Redis Cluster"),
    ],
)
async def test_a_server_that_will_not_do_is_refused(info: str, named: str) -> None:
    """An older server is refused with its version and the one needed; this one only says so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line.upper().startswith(b"INFO"):
                writer.write(f"${len(info)}\r\n{info}\r\n".encode())
            elif line.upper().startswith(b"CLIENT"):
                writer.write(b"+OK\r\n")
        writer.close()
        ended.set()

    ended = asyncio.Event()
    old = await asyncio.start_server(answer, "127.0.0.1", 0)
    client = connect(f"redis://127.0.0.1:{old.sockets[0].getsockname()[1]}")
    try:
        with pytest.raises(ConfigError, match=named):
            await ensure_deployment(client, "status", 4, "single")
    finally:
        await client.close()
        async with asyncio.timeout(10):
            await ended.wait()
        old.close()
