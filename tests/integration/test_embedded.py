"""The embedded server: data that stays, one user at a time, nothing left behind."""

import subprocess
import sys
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
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


def test_ends_the_server_that_a_killed_worker_left(tmp_path: Path) -> None:
    """Kill -9 cannot clean up; the next start does, with the data and on the same port."""
    program = (
        "import sys, os, signal; from pathlib import Path; import redis\n"
        "from status_tracker.embedded import embedded_server\n"
        "with embedded_server(Path(sys.argv[1])) as url:\n"
        "    redis.Redis.from_url(url).set('kept', 'yes')\n"
        "    print(url, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    orphan = killed.stdout.strip()
    assert ping(orphan), "the server must have outlived the worker, or this proves nothing"
    with embedded_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"
        assert url == orphan
    assert not ping(url)


def test_says_why_it_does_not_start(tmp_path: Path) -> None:
    """A damaged append-only file ends in one line that names the log."""
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.manifest").write_text("no manifest\n")
    with pytest.raises(ConfigError, match=r"did not start.*valkey\.log"), embedded_server(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "abc", "99999", "0"])
def test_a_damaged_port_file_is_no_matter(tmp_path: Path, text: str) -> None:
    """A full disk may leave anything there; the server starts on another port."""
    (tmp_path / "port").write_text(text)
    with embedded_server(tmp_path) as url:
        assert ping(url)
