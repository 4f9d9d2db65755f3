"""A server for each kind there is, started once, and emptied before each test."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Redis, Server, binaries


def pytest_configure() -> None:
    """Let what the tests start hear of the signals that `nohup` or a CI runner has us ignore.

    What is ignored is so in every process that is started, too; a handler is not passed on.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session", params=binaries().items(), ids=lambda item: item[0])
def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that tests share: they may not stop it, nor leave its configuration changed."""
    name, binary = request.param
    with Server(binary, tmp_path_factory.mktemp(name)) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The shared server, empty."""
    with shared_server.client() as client:
        client.flushall()
        client.config_set("maxmemory", 0)
    return shared_server


@pytest.fixture
def redis_client(server: Server) -> Iterator[Redis]:
    """A blocking client for what a producer or a dashboard would do; its replies are text."""
    with server.client() as client:
        yield client


@pytest.fixture(params=binaries().items(), ids=lambda item: item[0])
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server that the test may stop and start; it keeps an append-only file."""
    with Server(request.param[1], tmp_path / "server", "--appendonly", "yes") as server:
        yield server
