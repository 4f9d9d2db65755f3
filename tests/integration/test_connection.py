"""Connections that a client keeps."""

import asyncio
from typing import Any

from tests.servers import Client, Server
from worker.connection import close, connect


async def test_a_connection_that_the_server_closed_is_replaced(
    server: Server, redis_client: Client
) -> None:
    """A server's `timeout` for idle clients must not look like an outage."""
    client: Any = connect(server.url)
    try:
        assert await client.execute_command("PING")
        redis_client.client_kill_filter(_type="normal", skipme=True)
        for _ in range(2):
            await asyncio.sleep(0.01)  # for the end of the connection to arrive
            assert await client.execute_command("PING")
    finally:
        await close(client)


async def test_a_command_that_was_cut_off_leaves_no_answer_behind(server: Server) -> None:
    """The next command on that connection must not get the answer to the last one."""
    client: Any = connect(server.url)
    try:
        waiting = asyncio.create_task(client.execute_command("BLPOP", "nothing", 0.2))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0.3)
        assert await client.execute_command("ECHO", "mine") == b"mine"
    finally:
        await close(client)
