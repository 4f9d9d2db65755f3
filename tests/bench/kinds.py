"""The kinds of server that is measured on: each figure gets a fresh one, ended when it is known."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from msgspec import Struct
from status_tracker.embedded import embedded_server

from tests.servers import Server, binaries


class Kind(Struct, frozen=True):
    """A server's binary, and whether it keeps an append-only file."""

    name: str
    binary: Path
    append_only: bool = True

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Run a server, and yield its URL; more than one can run at once."""
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            options = ["--appendonly", "yes"] if self.append_only else []
            if self.append_only and self.name == "valkey":
                # As users get it with --embedded.
                with embedded_server(folder) as url:
                    yield calm(url)
            else:
                with Server(self.binary, folder, *options) as server:
                    yield calm(server.url)


def calm(url: str) -> str:
    """Keep a server from tidying up while it is measured, and return its URL.

    Restoring a backlog would set off that it rewrites its append-only file, in a process of its
    own, and what was emptied before would be freed by a thread: each takes a core from whichever
    loop comes next.
    """
    with connect(url) as client:
        client.config_set("auto-aof-rewrite-percentage", 0)
        client.config_set("lazyfree-lazy-user-flush", "no")
        client.config_set("lazyfree-lazy-user-del", "no")
    return url


def connect(url: str) -> redis.Redis:
    """Return redis-py's fastest client: the blocking one, with the older protocol."""
    return redis.Redis.from_url(url, protocol=2)


def version(url: str) -> str:
    """Return a server's name and version."""
    with connect(url) as client:
        info = client.info("server")
    number = info.get("valkey_version") or info["redis_version"]
    return f"{info.get('server_name', 'redis')} {number}"


def kinds() -> list[Kind]:
    """Return the kinds that can be started here."""
    return [Kind(name, binary) for name, binary in binaries().items()]
