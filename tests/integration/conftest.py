"""One partition's line on a real server."""

from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from status_tracker.connection.url import connect
from status_tracker.testing.line import Line

from tests.line import server_line
from tests.servers import Server


@pytest.fixture
async def line(server: Server) -> AsyncIterator[Callable[..., Line]]:
    """Make a line for partition 0, or for another one."""
    client = connect(server.url)
    yield partial(server_line, client)
    await client.close()
