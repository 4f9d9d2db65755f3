"""`status-tracker doctor` beside a worker that is at work, as a user who may do no more."""

from pathlib import Path

import pytest
from status_tracker.errors import EXIT_NO, EXIT_WARN
from status_tracker.keys import Keys
from status_tracker.monitoring.doctor.permissions import needed

from tests.acceptance.tracker import drained, tracker
from tests.command import invoked, ran
from tests.events import add, update
from tests.security import as_user, logged_in
from tests.servers import Server, wait_until

KEYS = Keys("status", "single")
SUBCOMMANDS = {"XINFO", "XGROUP"}


@pytest.fixture
def url(own_server: Server) -> str:
    """The URL of a user who may do what doctor says that a worker does, and nothing else."""
    rules = {
        "+" + "|".join(map(str, command[: 2 if command[0] in SUBCOMMANDS else 1])).lower()
        for command in needed(KEYS, is_cluster=False)
    }
    with own_server.client() as client:
        client.acl_setuser(
            "least", enabled=True, nopass=True, keys=["status:*"], commands=sorted(rules)
        )
    return logged_in(own_server.url, "least", "any")


def test_a_healthy_deployment(
    own_server: Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is well, and the exit code says so; the worker needs no other command than the named."""
    monkeypatch.chdir(tmp_path)
    admin = as_user("admin", own_server.url)
    with (
        own_server.client() as client,
        tracker(tmp_path / "worker", "--redis-url", url, STATUS_LEASE_TTL="10s") as worker,
    ):
        wait_until(lambda: drained(client, KEYS))
        for number in range(20):
            add(client, update(f"export-{number}", "pending"), keys=KEYS)
        wait_until(lambda: client.hget("status:counts:task", "pending") == "20")
        wait_until(lambda: drained(client, KEYS))
        assert "NOPERM" not in worker.log
        *lines, counts = ran(["doctor", "--redis-url", admin], cwd=tmp_path).lines
        assert counts == f"{len(lines)} ok, 0 warn, 0 fail"
        assert all(line.startswith("ok ") for line in lines)
        found = invoked("doctor", "--redis-url", url)
        assert (found.code, found.err) == (EXIT_WARN, "")
        assert "the user of the URL may do all that a worker does" in found.out
        assert worker.stop() == 0
    ended = invoked("doctor", "--redis-url", admin)
    assert ended.code == EXIT_NO
    assert "fail deployment: owners: partition 0 has no owner" in ended.out
