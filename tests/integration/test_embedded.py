"""The embedded server: data that stays, one user at a time, nothing left behind."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from status_tracker import embedded
from status_tracker.embedded import embedded_server
from status_tracker.errors import ConfigError


def ping(url: str) -> bool:
    """Tell whether a server answers."""
    with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def test_keeps_its_data_and_its_url(tmp_path: Path) -> None:
    """Stopping and starting again loses nothing, and dashboards find it where it was."""
    with embedded_server(tmp_path / "data") as url, redis.Redis.from_url(url) as client:
        client.set("kept", "yes")
    assert not ping(url)
    with embedded_server(tmp_path / "data") as again, redis.Redis.from_url(again) as client:
        assert client.get("kept") == b"yes"
    assert again == url


def test_listens_on_loopback_only(tmp_path: Path) -> None:
    """It has no password, so nobody else may reach it."""
    with embedded_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.config_get("bind")["bind"] == "127.0.0.1"


def test_refuses_a_folder_that_is_in_use(tmp_path: Path) -> None:
    """Two servers on the same files would destroy them."""
    with (
        embedded_server(tmp_path),
        pytest.raises(ConfigError, match="another status-tracker serves this data"),
        embedded_server(tmp_path),
    ):
        pass


def test_refuses_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "data").write_text("")
    with (
        pytest.raises(ConfigError, match="data: cannot be used"),
        embedded_server(tmp_path / "data"),
    ):
        pass


@contextmanager
def left_behind(folder: Path) -> Iterator[tuple[str, int]]:
    """Kill a process that runs a server with data; yield the server's URL and process id."""
    program = (
        "import sys, os, signal; from pathlib import Path; import redis\n"
        "from status_tracker.embedded import embedded_server\n"
        "with embedded_server(Path(sys.argv[1])) as url, redis.Redis.from_url(url) as client:\n"
        "    client.set('kept', 'yes')\n"
        "    print(url, client.info()['process_id'], flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False
    )
    url, process_id = killed.stdout.split()
    assert ping(url), "the server must have outlived the worker, or this proves nothing"
    try:
        yield url, int(process_id)
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(process_id), signal.SIGKILL)


def test_ends_the_server_that_a_killed_worker_left(tmp_path: Path) -> None:
    """Kill -9 cannot clean up; the next start does, with the data and on the same port."""
    with left_behind(tmp_path) as (orphan, _):
        with embedded_server(tmp_path) as url, redis.Redis.from_url(url) as client:
            assert client.get("kept") == b"yes"
            assert url == orphan
        assert not ping(url)


def test_ends_a_server_that_hangs(tmp_path: Path) -> None:
    """A second server beside one that is stopped would break the append-only file of both."""
    with left_behind(tmp_path) as (orphan, process_id):
        os.kill(process_id, signal.SIGSTOP)
        with embedded_server(tmp_path) as url, redis.Redis.from_url(url) as client:
            assert client.get("kept") == b"yes"
            assert url == orphan


def test_kills_a_server_that_does_not_hear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without an end keeps a server from ending in good order; its data is kept."""
    monkeypatch.setattr(embedded, "STOPS_WITHIN", 0.5)
    with left_behind(tmp_path) as (orphan, _):
        with (
            redis.Redis.from_url(orphan, retry=Retry(NoBackoff(), 0), socket_timeout=0.5) as client,
            pytest.raises(redis.TimeoutError),
        ):
            client.eval("while true do end", 0)
        with embedded_server(tmp_path) as url, redis.Redis.from_url(url) as client:
            assert client.get("kept") == b"yes"
            assert url == orphan


def test_refuses_data_whose_server_cannot_be_ended(tmp_path: Path) -> None:
    """What has no process id here, as in another container, is not killed by a wrong one."""
    with (tmp_path / "server.lock").open("w") as lock:
        # A lock of the open file, not of a process: the kernel says -1 for its holder.
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, bytes(embedded._Flock(kind=fcntl.F_WRLCK)))
        with (
            pytest.raises(ConfigError, match=r"another container .* cannot be ended from here"),
            embedded_server(tmp_path),
        ):
            pass
    assert not (tmp_path / "appendonlydir").exists()


def test_leaves_alone_what_is_no_server_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who took the port and never answers holds up neither start nor stop; the new URL is said."""
    with socket.create_server((embedded.HOST, 0)) as silent:
        taken = silent.getsockname()[1]
        (tmp_path / "port").write_text(str(taken))
        began = time.monotonic()
        with embedded_server(tmp_path) as url:
            assert ping(url)
        assert time.monotonic() - began < embedded.STOPS_WITHIN / 2
    [said] = caplog.messages
    port = urlsplit(url).port
    assert said == (
        f"port {taken} is another process's: the URL of this data has port {port} from now on"
    )
    with embedded_server(tmp_path) as again:
        assert again == url, "what was said must hold"


def test_says_why_it_does_not_start(tmp_path: Path) -> None:
    """A damaged append-only file ends in one line that names the log."""
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.manifest").write_text("no manifest\n")
    with pytest.raises(ConfigError, match=r"did not start.*valkey\.log"), embedded_server(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "abc", "99999", "-1", "0"])
def test_a_damaged_port_file_is_no_matter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """A full disk may leave anything there; the server starts on another port, and says so."""
    (tmp_path / "port").write_text(text)
    with embedded_server(tmp_path) as url:
        assert ping(url)
    [said] = caplog.messages
    assert said.startswith(f"{tmp_path / 'port'} holds no port: the URL of this data has port ")
