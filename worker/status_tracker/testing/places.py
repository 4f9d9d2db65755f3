"""Where the keys of a test are: in memory, on an embedded server, or on a server of the user's."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from status_tracker.client.reader import DEFAULT_PREFIX
from status_tracker.connection.blocking import BlockingServer
from status_tracker.connection.client import UNREACHABLE, checked
from status_tracker.connection.url import blocking_pool, without_secrets
from status_tracker.embedded import embedded_server
from status_tracker.errors import ConfigError, UnavailableError

MEMORY, EMBEDDED = "memory", "embedded"

DATABASES = 16
"""What a server has unless it is told otherwise."""

REMOVED_AT_ONCE = 1_000


class Place(NamedTuple):
    """Where the keys of one test are, and no other's."""

    url: str
    prefix: str


Places = Callable[[], AbstractContextManager[Place]]
"""Makes a place, which is empty, and emptied where its block ends."""


@contextmanager
def places(server: str, folder: Path) -> Iterator[Places]:
    """Yield what makes places on a server: `memory`, `embedded` with its data in a folder, a URL.

    Raises `ConfigError` where that cannot be had.
    """
    if server == MEMORY:
        for module in ("fakeredis", "lupa"):
            if find_spec(module) is None:
                raise ConfigError(
                    f"{module} is not installed: pip install 'status-tracker[testing]', "
                    "or run on a real server: --status-tracker-server=embedded"
                )
        yield _in_memory
    elif server == EMBEDDED:
        with embedded_server(folder) as url:
            yield partial(_database, url.rpartition("/")[0], set(range(DATABASES)))
    else:
        yield partial(_prefix, server)


@contextmanager
def _in_memory() -> Iterator[Place]:
    from status_tracker.testing.memory import memory_server  # noqa: PLC0415 - it needs the extra

    with memory_server() as url:
        yield Place(url, DEFAULT_PREFIX)


@contextmanager
def _database(server: str, free: set[int]) -> Iterator[Place]:
    """Take one of a server's databases."""
    if not free:
        raise ConfigError(f"{DATABASES} tests at once have all databases of the embedded server")
    number = free.pop()
    url = f"{server}/{number}"
    try:
        yield Place(url, DEFAULT_PREFIX)
    finally:
        _ask(url, "FLUSHDB")
        free.add(number)


@contextmanager
def _prefix(url: str) -> Iterator[Place]:
    """Take a prefix that nobody has, on a server on which there may be anything."""
    prefix = f"status-test-{uuid4().hex}"
    _ask(url, "PING")
    try:
        yield Place(url, prefix)
    finally:
        _remove(url, f"{prefix}:*")


def _remove(url: str, pattern: str) -> None:
    cursor = b""
    while cursor != b"0":
        scan = ("SCAN", cursor or 0, "MATCH", pattern, "COUNT", REMOVED_AT_ONCE)
        cursor, keys = _ask(url, *scan)
        if keys:
            _ask(url, "UNLINK", *keys)


def _ask(url: str, *command: str | bytes | int) -> Any:
    client = BlockingServer(blocking_pool(url))
    try:
        [reply] = checked(client.execute_all([command]))
    except UNREACHABLE as error:
        raise UnavailableError(f"{without_secrets(url)}: {error}") from None
    finally:
        client.close()
    return reply
