"""Connections that a client keeps."""

import asyncio

from status_tracker.connection.server import _is_closed
from status_tracker.connection.url import connect

from tests.servers import Redis, Server


async def test_a_connection_that_the_server_closed_is_replaced(
    server: Server, redis_client: Redis
) -> None:
    """A server's `timeout` for idle clients must not look like an outage."""
    client = connect(server.url)
    try:
        assert await client.execute("PING")
        redis_client.client_kill_filter(_type="normal", skipme=True)
        (kept,) = client._idle
        async with asyncio.timeout(10):
            while not await _is_closed(kept):  # noqa: ASYNC110 - the end is on its way
                await asyncio.sleep(0)
        assert await client.execute("PING")
        assert client._idle == [kept]
    finally:
        await client.close()


async def test_a_command_that_was_cut_off_leaves_no_answer_behind(
    server: Server, redis_client: Redis
) -> None:
    """The next command on that connection must not get the answer to the last one."""
    client = connect(server.url)
    try:
        waiting = asyncio.create_task(client.execute("BLPOP", "queue", 0))
        async with asyncio.timeout(10):
            while not redis_client.info("clients")["blocked_clients"]:  # noqa: ASYNC110
                await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        redis_client.rpush("queue", "for the one who waited")
        assert await client.execute("ECHO", "mine") == b"mine"
    finally:
        await client.close()
