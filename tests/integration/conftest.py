"""One partition's line on a real server, and what users have of the library."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import pytest
from status_tracker.connection.url import connect
from status_tracker.testing.line import Line

from tests.integration.maintaining import MakeOwner, Owner
from tests.line import deployed, server_line
from tests.publishing import Publisher
from tests.servers import Redis, Server
from tests.shells import SHELLS, Shell


@pytest.fixture
async def line(server: Server) -> AsyncIterator[Callable[..., Line]]:
    """Make a line for partition 0, or for another one."""
    client = connect(server.url)
    yield partial(server_line, client)
    await client.close()


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    """One of the two shells."""
    shell = Shell(request.param)
    yield shell
    shell.close()


@pytest.fixture(params=["single", "cluster"])
def published(request: pytest.FixtureRequest, redis_client: Redis) -> Publisher:
    """A deployment of each layout, empty."""
    return Publisher(redis_client, deployed(layout=request.param, partitions=4))


@pytest.fixture
async def owner(server: Server, redis_client: Redis) -> AsyncIterator[MakeOwner]:
    """Make an owner of partitions, by rules."""
    client = connect(server.url)
    yield partial(Owner, client, redis_client)
    await client.close()
