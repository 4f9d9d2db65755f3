"""`status-tracker set` as an operator runs it, beside a real worker."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from status_tracker.connection.url import without_secrets
from status_tracker.keys import Keys, Layout

from tests.acceptance.fleet_command import DEADLINE, completed, environment
from tests.acceptance.tracker import Tracker, drained, tracker
from tests.events import NOW, add, id_in, update
from tests.line import deployed, meta_of
from tests.servers import Redis, Server, wait_until

COMMAND = [sys.executable, "-m", "status_tracker", "set"]
KEYS = Keys("status", "single")
TASK = id_in(2)
STATUS = KEYS.partition(2).status("task", TASK)
PENDING = f'{{"phase":"pending","retries":0,"updatedAt":{NOW}}}'


@pytest.fixture
def worker(server: Server, redis_client: Redis, tmp_path: Path) -> Iterator[Tracker]:
    """A worker at work."""
    with tracker(tmp_path / "worker", "--redis-url", server.url) as running:
        wait_until(lambda: drained(redis_client, KEYS))
        yield running


def set_status(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return completed("set", "--redis-url", url, *arguments)


def said(url: str, *arguments: str, code: int = 0) -> list[str]:
    """Return the lines that it prints, and nothing on standard error."""
    result = set_status(url, *arguments)
    assert (result.returncode, result.stderr) == (code, ""), result
    return result.stdout.splitlines()


def there_is(client: Redis, *phases: str, **fields: Any) -> None:
    """Bring the task through phases, as its producer does."""
    for place, phase in enumerate(phases):
        add(client, update(TASK, phase, NOW + place, **fields), keys=KEYS)
    wait_until(lambda: drained(client, KEYS))


@pytest.mark.parametrize("layout", ["single", "cluster"])
def test_applied(server: Server, redis_client: Redis, tmp_path: Path, layout: Layout) -> None:
    """It prints the documents as the key has them, at the server's time, in both layouts."""
    keys = Keys("status", layout)
    with tracker(tmp_path / "worker", "--redis-url", server.url, "--layout", layout):
        wait_until(lambda: drained(redis_client, keys))
        before, after = said(server.url, "task", TASK, "pending", "--attempt", "2")
        key = keys.partition(2).status("task", TASK)
        first = redis_client.get(key)
        assert (before, after) == ("before: none", f"after: {first}")
        assert list(json.loads(first)) == ["phase", "retries", "attempt", "updatedAt"]
        options = ["--progress", "0.5", "--error", "by hand: ✓"]
        before, after = said(server.url, "task", TASK, "waiting", *options)
        second = redis_client.get(key)
        assert (before, after) == (f"before: {first}", f"after: {second}")
        found = json.loads(second)
        assert (found["progress"], found["errorMessage"]) == (0.5, "by hand: ✓")
        assert json.loads(first)["updatedAt"] <= found["updatedAt"]
        assert 1000 * redis_client.time()[0] - found["updatedAt"] < 1000 * DEADLINE
        [line] = said(server.url, "task", TASK, "completed", code=1)
        assert line.startswith("rejected: illegal_transition: waiting -> completed; ")


@pytest.mark.usefixtures("worker")
def test_a_status_of_the_future(server: Server, redis_client: Redis) -> None:
    """A producer's clock that is ahead does not make what is done by hand stale."""
    there_is(redis_client, "pending")
    ahead = 1000 * redis_client.time()[0] + 50_000
    add(redis_client, update(TASK, "waiting", ahead), keys=KEYS)
    wait_until(lambda: drained(redis_client, KEYS))
    _, after = said(server.url, "task", TASK, "running")
    assert after == f'after: {{"phase":"running","retries":0,"updatedAt":{ahead}}}'


@pytest.mark.usefixtures("worker")
def test_rejected_then_forced(server: Server, redis_client: Redis) -> None:
    """What the rules do not allow has the exit code 1 and says why; `--force` does it."""
    there_is(redis_client, "pending")
    [line] = said(server.url, "task", TASK, "completed", code=1)
    assert line.startswith("rejected: illegal_transition: pending -> completed; ")
    assert redis_client.get(STATUS) == PENDING
    before, after = said(server.url, "task", TASK, "completed", "--force")
    assert before == f"before: {PENDING}"
    assert after.startswith('after: {"phase":"completed","progress":1,"retries":0,')
    [*_, (_, change)] = redis_client.xrange(KEYS.partition(2).changes)
    assert json.loads(change["data"])["forced"] is True


@pytest.mark.usefixtures("worker")
def test_a_cancelled_task_is_restarted(server: Server, redis_client: Redis) -> None:
    """A retry's step is taken as a restart, with the count back at 0."""
    there_is(redis_client, "pending", "failed", "pending", "cancelled")
    before, after = said(server.url, "task", TASK, "waiting", "--restart")
    assert '"phase":"cancelled","retries":1,' in before
    assert '"phase":"waiting","retries":0,' in after


@pytest.mark.usefixtures("worker")
def test_superseded(server: Server, redis_client: Redis) -> None:
    """An attempt that is over changes nothing, by hand neither."""
    there_is(redis_client, "pending", attempt=2)
    [line] = said(server.url, "task", TASK, "waiting", "--attempt", "1", code=1)
    assert line == "rejected: superseded: attempt 1, but 2 has begun"


@pytest.mark.usefixtures("worker")
def test_a_duplicate(server: Server, redis_client: Redis) -> None:
    """What is so already is well: the exit code is 0."""
    there_is(redis_client, "pending", "waiting", "running", "completed")
    lines = said(server.url, "task", TASK, "completed")
    assert lines == ["unchanged: a duplicate", f"after: {redis_client.get(STATUS)}"]


def test_among_many_rejections(
    server: Server, redis_client: Redis, worker: Tracker, tmp_path: Path
) -> None:
    """The reason is its own, whatever else is rejected between the two looks."""
    assert worker.stop() == 0
    add(redis_client, update(TASK, "running"), keys=KEYS)
    for _ in range(250):
        redis_client.xadd(KEYS.events(2), {"data": "no JSON"})
    with subprocess.Popen(
        [*COMMAND, "--redis-url", server.url, "task", TASK, "completed"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        wait_until(lambda: redis_client.xlen(KEYS.events(2)) == 252)
        with tracker(tmp_path, "--redis-url", server.url):
            assert process.wait(DEADLINE) == 1
        assert process.stdout is not None
        [line] = process.stdout.read().splitlines()
    assert line.startswith(
        "rejected: unknown_entity: no status (it may have been removed), and none begins as compl"
    )


@pytest.mark.usefixtures("worker")
def test_a_key_that_holds_no_status(server: Server, redis_client: Redis) -> None:
    """It is no reason to send nothing: the worker says what is wrong with it."""
    redis_client.set(STATUS, "\x1b[2J")
    [line] = said(server.url, "task", TASK, "pending", code=1)
    assert line.startswith(f"rejected: corrupt_state: {STATUS} holds no status ")
    assert line.isprintable()
    redis_client.delete(STATUS)
    redis_client.lpush(STATUS, "x")
    [line] = said(server.url, "task", TASK, "pending", code=1)
    assert line == f"rejected: corrupt_state: {STATUS} holds no text: mend or delete it"


def test_a_rejection_that_is_not_kept(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """What was rejected is not called a duplicate because nobody kept it."""
    with tracker(tmp_path, "--redis-url", server.url, STATUS_MAX_REJECTED="0"):
        wait_until(lambda: drained(redis_client, KEYS))
        [line] = said(server.url, "task", TASK, "running", code=1)
    assert line.startswith("rejected: the reason is not there any more: max_rejected ")


def test_no_worker_reads(server: Server, redis_client: Redis, worker: Tracker) -> None:
    """The exit code is 69, the line names the partition, and the update is not lost."""
    assert worker.stop() == 0
    result = set_status(server.url, "task", TASK, "pending", "--timeout", "200ms")
    assert (result.returncode, result.stdout) == (69, "")
    assert result.stderr == (
        "status-tracker: no worker reads partition 2: the update was not read within 0.2 s; "
        "it stays in status:events:{2} and counts as soon as it is read\n"
    )
    redis_client.set(KEYS.lease(2), b"\x1b[2Jone")
    result = set_status(server.url, "task", TASK, "pending", "--timeout", "0s")
    assert result.returncode == 69
    assert result.stderr.startswith(r"status-tracker: \x1b[2Jone is behind with partition 2: ")
    assert redis_client.xlen(KEYS.events(2)) == 2


def test_ctrl_c(server: Server, redis_client: Redis, worker: Tracker) -> None:
    """Who gives up waiting ends it at once, without a word; the exit code is the signal's."""
    worker.kill()
    with subprocess.Popen(
        [*COMMAND, "--redis-url", server.url, "task", TASK, "pending", "--timeout", "1h"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
    ) as process:
        wait_until(lambda: redis_client.xlen(KEYS.events(2)))
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == -signal.SIGINT
        assert process.stdout is not None
        assert process.stdout.read() == b""


def test_a_server_that_goes_away(own_server: Server, tmp_path: Path) -> None:
    """Whoever cannot know whether the update was added is told so."""
    with own_server.client() as client, tracker(tmp_path, "--redis-url", own_server.url) as running:
        wait_until(lambda: drained(client, KEYS))
        running.kill()
        with subprocess.Popen(
            [*COMMAND, "--redis-url", own_server.url, "task", TASK, "pending", "--timeout", "1h"],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as process:
            wait_until(lambda: client.xlen(KEYS.events(2)))
            own_server.stop(signal.SIGKILL)
            assert process.wait(DEADLINE) == 69
            assert process.stderr is not None
            [line] = process.stderr.read().splitlines()
    assert line.startswith(f"status-tracker: {without_secrets(own_server.url)}: ")
    assert line.endswith("; the update may be in status:events:{2}: look before you send it again")


REFUSED = {
    "kind": (["job", TASK, "pending"], 'kind: "job"; must be task or asset'),
    "phase": (["task", TASK, "ready"], 'phase: "ready"; must be pending, waiting, running, '),
    "empty id": (["task", "", "pending"], "id: ''; must be text of 1 to 256 characters"),
    "id with braces": (["task", "a{1}", "pending"], "id: 'a{1}'; must be text"),
    "id that a terminal obeys": (["task", "\x1b[2J", "pending"], r"id: '\x1b[2J'; must be text"),
    "kind that a terminal obeys": (["\x9b", TASK, "pending"], r'kind: "\x9b"; must be task or'),
    "no text": (["task", os.fsdecode(b"\xff"), "pending"], r"'\udcff': holds bytes that are no"),
    "progress": (["task", TASK, "pending", "--progress", "1.5"], "'1.5': write a number from 0"),
    "attempt": (["task", TASK, "pending", "--attempt", "0"], "--attempt"),
    "size": (["task", TASK, "pending", "--error", "x" * 70_000], "over max_event_bytes (65536)"),
    "timeout": (["task", TASK, "pending", "--timeout", "10"], "'--timeout': '10': write "),
    "restart": (["asset", TASK, "waiting", "--restart"], "restart: asset counts no retries"),
}


@pytest.mark.parametrize(("arguments", "says"), REFUSED.values(), ids=REFUSED)
def test_what_the_rules_do_not_have(
    server: Server, redis_client: Redis, arguments: list[str], says: str
) -> None:
    """A slip is a usage error that says what there is, and nothing is written."""
    redis_client.hset(KEYS.meta, mapping=meta_of(deployed(partitions=4)))
    result = set_status(server.url, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert says in re.sub(r"\s+", " ", result.stderr)
    assert not [each for each in result.stderr if not each.isprintable() and each != "\n"]
    assert "Traceback" not in result.stderr
    assert redis_client.dbsize() == 1


def test_a_kind_of_one_s_own(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """It knows the deployment's kinds, whatever the shipped ones are."""
    (tmp_path / "rules.toml").write_text(
        'max_clock_skew = "60s"\nclock_skew = "1s"\nmax_event_bytes = "64KiB"\n'
        '[export]\nphases = ["queued", "done"]\ninitial = ["queued"]\nsuccess = ["done"]\n'
        'terminal = ["done"]\ntransitions = { queued = ["done"] }\n'
    )
    with tracker(tmp_path, "--redis-url", server.url, "--rules", "rules.toml"):
        wait_until(lambda: drained(redis_client, KEYS))
        said(server.url, "export", "e-1", "queued")
        _, after = said(server.url, "export", "e-1", "done")
        assert after.startswith('after: {"phase":"done","progress":1,"updatedAt":')


@pytest.mark.parametrize(
    ("command", "key"),
    [("XREVRANGE", KEYS.partition(2).rejected), ("XADD", KEYS.events(2))],
)
def test_a_key_of_another_type(server: Server, redis_client: Redis, command: str, key: str) -> None:
    """The line names the key; what the server refused was not added."""
    redis_client.hset(KEYS.meta, mapping=meta_of(deployed(partitions=4)))
    redis_client.set(key, "x")
    result = set_status(server.url, "task", TASK, "pending")
    assert (result.returncode, result.stdout) == (69, "")
    [line] = result.stderr.splitlines()
    assert line.startswith(f"status-tracker: {without_secrets(server.url)}: {command} {key}: ")
    assert "may be in" not in line
    assert redis_client.dbsize() == 2


def test_no_deployment(server: Server, redis_client: Redis) -> None:
    """A wrong prefix is not taken for a deployment, nor made one."""
    result = set_status(server.url, "--prefix", "status:jobs", "task", TASK, "pending")
    assert (result.returncode, result.stdout) == (78, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("status-tracker: no deployment with prefix status:jobs: ")
    assert redis_client.dbsize() == 0


def test_no_server() -> None:
    """A server that does not answer has an exit code of its own; nothing can have been added."""
    result = set_status("redis://viewer:s3cret@127.0.0.1:1/0", "task", TASK, "pending")
    assert (result.returncode, result.stdout) == (69, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("status-tracker: redis://127.0.0.1:1/0: ")
    assert "s3cret" not in line
    assert "may be in" not in line
