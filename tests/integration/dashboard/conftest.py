"""A server of one kind: how they differ, the reader's own tests know."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.publishing import Publisher
from tests.servers import Redis, Server, binaries


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests share: they may not stop it, nor leave its configuration changed."""
    with Server(binaries()["valkey"], tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may stop and start; it keeps an append-only file."""
    folder = tmp_path / "server"
    with Server(binaries()["valkey"], folder, "--appendonly", "yes") as server:
        yield server


@pytest.fixture
def url(server: Server, redis_client: Redis) -> str:
    """A deployment with nothing in it."""
    Publisher(redis_client)
    return server.url
