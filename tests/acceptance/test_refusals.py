"""What a worker refuses at start: one line, an exit code, no traceback, no secret."""

from pathlib import Path

import pytest
from status_tracker.settings import default_file

from tests.acceptance.tracker import tracker
from tests.security import logged_in
from tests.servers import Redis, Server


def refusal(folder: Path, *arguments: str, **environment: str) -> str:
    """Return the one line of a worker that refuses its configuration."""
    with tracker(folder, *arguments, **environment) as refused:
        assert refused.exit_code() == 78, refused.log
    [line] = refused.log.splitlines()
    assert line.startswith("status-tracker: ")
    return line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The path is named."""
    assert "nowhere.toml: cannot be read" in refusal(tmp_path, "--config", "nowhere.toml")


KIND = """
[{0}]
phases = ["open", {1}"closed"]
initial = ["open"]
success = []
terminal = ["closed"]
transitions = {{ open = ["closed"] }}
"""


@pytest.mark.parametrize(
    ("kinds", "named"),
    [
        pytest.param(KIND.format("events", ""), "events: ", id="a kind called like a key"),
        pytest.param(
            KIND.format("export", '"In Progress", '),
            "export.phases: 'In Progress'",
            id="a phase of two words",
        ),
        pytest.param(
            "".join(KIND.format(f"kind{number}", "") for number in range(31)),
            "33 kinds are too many",
            id="too many kinds",
        ),
        pytest.param(
            KIND.format("export", '"stuck", '),
            "export.transitions: nothing leads to stuck",
            id="a phase that nothing leads to",
        ),
        pytest.param(
            KIND.format("export", "") + 'settled = ["done"]\n',
            "export.settled: 'done' is no",
            id="settled in no phase",
        ),
    ],
)
def test_rules_that_cannot_work(tmp_path: Path, kinds: str, named: str) -> None:
    """File and key are named, before anything is connected."""
    file = tmp_path / "mine.toml"
    file.write_text(default_file("rules.toml").read_text() + kinds)
    assert f"mine.toml: {named}" in refusal(tmp_path, "--rules", "mine.toml")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--partitions", "8"], "partitions: configured is 8, .* created with 4"),
        (["--layout", "cluster"], "layout: configured is cluster, .* created with single"),
    ],
)
def test_another_deployment(
    server: Server, redis_client: Redis, tmp_path: Path, arguments: list[str], named: str
) -> None:
    """A worker that would read other streams is refused with both values."""
    created = {"version": "1", "partitions": "4", "layout": "single"}
    redis_client.hset("status:meta", mapping=created)
    with pytest.raises(AssertionError, match=named):
        raise AssertionError(refusal(tmp_path, "--redis-url", server.url, *arguments))


def test_a_deployment_that_becomes_another_one(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """A restore of another deployment under a running worker ends it, too."""
    with tracker(tmp_path, "--redis-url", server.url) as running:
        running.reads(0, 1, 2, 3)
        restored = redis_client.pipeline(transaction=True)
        restored.flushdb()
        restored.hset(
            "status:meta", mapping={"version": "1", "partitions": "16", "layout": "single"}
        )
        restored.execute()
        assert running.exit_code() == 78
    assert "created with 16" in running.log
    assert "Traceback" not in running.log


@pytest.mark.parametrize(
    "url",
    [
        "redis://tracker:s3cret/x@127.0.0.1:1",
        "http://tracker:s3cret@127.0.0.1:1",
        "redis://tracker:s3cret@127.0.0.1:1?timeout=s3cret",
    ],
)
def test_a_url_that_cannot_be_used(tmp_path: Path, url: str) -> None:
    """The forms are named, and the URL is not repeated."""
    line = refusal(tmp_path, STATUS_REDIS_URL=url)
    assert "redis_url: " in line
    assert "s3cret" not in line


def test_a_password_that_is_wrong(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """Waiting would not mend it, so it is refused; the right one works and is never logged."""
    redis_client.acl_setuser(
        "tracker", enabled=True, passwords=["+s3cret"], keys=["*"], commands=["+@all"]
    )
    try:
        url = logged_in(server.url, "tracker", "s4cret")
        wrong = refusal(tmp_path / "wrong", "--redis-url", url)
        assert "refuses user or password" in wrong
        assert "s4cret" not in wrong
        url = logged_in(server.url, "tracker", "s3cret")
        with tracker(tmp_path / "right", "--redis-url", url, "--log-level", "debug") as running:
            running.reads(0, 1, 2, 3)
            running.stop()
        assert "s3cret" not in running.log
    finally:
        redis_client.acl_deluser("tracker")
