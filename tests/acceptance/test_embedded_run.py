"""`status-tracker run --embedded`: nothing else is needed, and nothing is lost."""

import re
import signal
from pathlib import Path

import pytest
import redis
from status_tracker.keys import Keys

from tests.acceptance.producers import produce
from tests.acceptance.tracker import Tracker, assert_as_modelled, drained, tracker
from tests.servers import Redis, wait_until

SINGLE = Keys("status", "single")


def client_of(running: Tracker) -> Redis:
    """Return a client for the URL that was printed."""
    running.reads(0, 1, 2, 3)
    [url] = re.findall(r"embedded server: (\S+)", running.log)[-1:]
    return redis.Redis.from_url(
        url, decode_responses=True, encoding_errors="surrogateescape", protocol=2
    )


def test_keeps_everything_over_a_stop_and_a_kill(tmp_path: Path) -> None:
    """Ctrl-C, and kill -9 of the worker alone: the next start goes on with the same data."""
    with tracker(tmp_path, "--embedded") as first, client_of(first) as client:
        produce(client, SINGLE, seed=1, count=2_000)
        wait_until(lambda: client.xlen("status:changes"))
        code = first.stop(signal.SIGINT)
        assert code == 0
    with tracker(tmp_path, "--embedded") as second, client_of(second) as client:
        produce(client, SINGLE, seed=2, count=2_000)
        wait_until(lambda: client.xlen("status:changes"))
        second.kill()
    with tracker(tmp_path, "--embedded") as third, client_of(third) as client:
        wait_until(lambda: drained(client, SINGLE))
        assert_as_modelled(client, SINGLE)
        assert third.stop() == 0
    assert (tmp_path / ".status-tracker").is_dir()


def test_a_killed_workers_next_one_is_told_of_no_other(tmp_path: Path) -> None:
    """The folder's lock proves that the worker of its name is gone: there is nothing to warn of."""
    with tracker(tmp_path, "--embedded", STATUS_LEASE_TTL="1h") as first:
        first.reads(0, 1, 2, 3)
        first.kill()
    with tracker(tmp_path, "--embedded", STATUS_LEASE_TTL="1h") as second:
        second.reads(0, 1, 2, 3)
        assert not second.events("namesake_seen")
        assert second.stop() == 0


def test_a_closed_terminal_ends_the_server_too(tmp_path: Path) -> None:
    """A terminal that is closed sends SIGHUP, which the server takes for no reason to end."""
    with tracker(tmp_path, "--embedded") as running, client_of(running) as client:
        assert client.ping()
        assert running.stop(signal.SIGHUP) == 0
        with pytest.raises(redis.ConnectionError):
            client.ping()


def test_a_second_one_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Two servers on the same data would destroy it."""
    with tracker(tmp_path, "--embedded") as first:
        first.reads(0, 1, 2, 3)
        with tracker(tmp_path, "--embedded") as second:
            assert second.exit_code() == 78
        assert "another status-tracker serves this data" in first.log
        assert first.stop() == 0
