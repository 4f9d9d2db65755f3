"""`status-tracker rules` as an operator runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from status_tracker.keys import Keys
from status_tracker.rules import rules_json
from status_tracker.settings import default_file

from tests.acceptance.fleet_command import DEADLINE, completed, environment
from tests.acceptance.tracker import drained, tracker
from tests.events import NOW, add, id_in, update
from tests.line import RULES, deployed, meta_of
from tests.security import logged_in
from tests.servers import Redis, Server, wait_until

COMMAND = [sys.executable, "-m", "status_tracker", "rules"]
KEYS = Keys("status", "single")
SHIPPED = default_file("rules.toml").read_text()


def rules(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return completed("rules", *arguments, "--redis-url", url)


def write(folder: Path, *changes: tuple[str, str]) -> str:
    """Write the shipped rules with some changes; return the file's path."""
    text = SHIPPED
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    file = folder / "mine.toml"
    file.write_text(text)
    return str(file)


SEVEN = ("max_retries = 3 ", "max_retries = 7 ")

WITHOUT_PENDING = [
    ('phases = ["pending", "waiting", "running"', 'phases = ["waiting", "running"'),
    ('initial = ["pending"] ', 'initial = ["waiting"] '),
    ('pending = ["waiting", "failed", "cancelled"]\n', ""),
    ('failed = ["pending", "waiting"]', 'failed = ["waiting"]'),
    ('cancelled = ["pending", "waiting"]', 'cancelled = ["waiting"]'),
]


@pytest.fixture
def deployment(redis_client: Redis) -> Redis:
    """The keys of a deployment that goes by the shipped rules."""
    redis_client.hset(KEYS.meta, mapping=meta_of(deployed(partitions=4)))
    return redis_client


@pytest.mark.usefixtures("deployment")
def test_show(server: Server, tmp_path: Path) -> None:
    """Tables for people, JSON for programs, diagrams for a README."""
    result = rules(server.url, "show")
    assert (result.returncode, result.stderr) == (0, "")
    assert "task: begins in pending; at most 3 retries" in result.stdout
    assert "max_event_bytes = 64KiB" in result.stdout
    assert result.stdout.endswith("revision 1, in force\n")
    document = json.loads(rules(server.url, "show", "--json").stdout)
    assert document == {"revision": 1, "rules": json.loads(rules_json(RULES))}
    check = completed("check", "--mermaid")
    assert rules(server.url, "show", "--mermaid").stdout == check.stdout
    file = write(tmp_path, SEVEN)
    shown = json.loads(rules(server.url, "show", file, "--json").stdout)
    assert (shown["revision"], shown["rules"]["task"]["max_retries"]) == (None, 7)


@pytest.mark.usefixtures("deployment")
def test_diff(server: Server, tmp_path: Path) -> None:
    """The exit code says whether anything differs; without a file the shipped rules are meant."""
    result = rules(server.url, "diff")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "nothing differs: revision 1 has these rules\n"
    own = "[export]\nphases = ['on']\ninitial = ['on']\n"
    own += "success = []\nterminal = []\ntransitions = {}\n"
    file = write(tmp_path, SEVEN, ('ready = ["deleting"]\n', ""), ("[asset]\n", f"{own}[asset]\n"))
    result = rules(server.url, "diff", file)
    assert (result.returncode, result.stderr) == (1, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "key revision 1 mine.toml"
    assert lines[2:] == [
        "task.max_retries 3 7",
        "asset.transitions.ready deleting nothing",
        "export nothing on",
    ]
    document = json.loads(rules(server.url, "diff", file, "--json").stdout)
    assert document["revision"] == 1
    assert document["differences"][0] == {"key": "task.max_retries", "before": 3, "after": 7}


def test_apply(server: Server, deployment: Redis, tmp_path: Path) -> None:
    """It shows what changes, and writes the next revision; the same rules again are none."""
    file = write(tmp_path, SEVEN)
    result = rules(server.url, "apply", file, "--yes")
    assert (result.returncode, result.stderr) == (0, "")
    assert "task.max_retries" in result.stdout
    assert result.stdout.endswith("revision 2 is in force\n")
    result = rules(server.url, "apply", file, "--yes", "--json")
    assert json.loads(result.stdout) == {"revision": 2, "differences": []}
    assert rules(server.url, "apply", "--yes").stdout.endswith("revision 3 is in force\n")
    fields = deployment.hgetall(KEYS.meta)
    assert fields["revision"] == "3"
    assert fields["rules"] == fields["rules:3"] == fields["rules:1"] != fields["rules:2"]


def test_apply_asks(server: Server, deployment: Redis, tmp_path: Path) -> None:
    """Whoever says no, or nothing, has changed nothing."""
    before = deployment.hgetall(KEYS.meta)
    command = [*COMMAND, "apply", write(tmp_path, SEVEN), "--redis-url", server.url]
    for answer in ("n\n", ""):
        result = subprocess.run(
            command,
            input=answer,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
            env=environment(),
        )
        assert result.returncode == 1
        assert "Put these rules in force?" in result.stdout
        assert "Traceback" not in result.stderr
    assert rules(server.url, "apply", "--json").returncode == 2
    assert deployment.hgetall(KEYS.meta) == before


def test_apply_when_somebody_else_is_faster(
    server: Server, deployment: Redis, tmp_path: Path
) -> None:
    """What was shown is not what is in force any more: the exit code is 78, nothing is written."""
    with subprocess.Popen(
        [*COMMAND, "apply", write(tmp_path, SEVEN), "--redis-url", server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as slow:
        assert slow.stdout is not None
        shown = b""
        while b"[y/N]" not in shown:
            shown += slow.stdout.read(1)
        faster = tmp_path / "faster"
        faster.mkdir()
        other = write(faster, ("history = 0", "history = 9"))
        assert rules(server.url, "apply", other, "--yes").returncode == 0
        before = deployment.hgetall(KEYS.meta)
        _, errors = slow.communicate(b"y\n", timeout=DEADLINE)
        assert slow.returncode == 78
    [line] = errors.decode().splitlines()
    assert line.startswith(
        "status-tracker: revision: status:meta has 2 by now, written by somebody"
    )
    assert deployment.hgetall(KEYS.meta) == before


def test_what_has_entities_cannot_be_dropped(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """The line says how many there are; when they have moved on, it can."""
    file = write(tmp_path, *WITHOUT_PENDING)
    with tracker(tmp_path / "worker", "--redis-url", server.url, "--layout", "cluster"):
        keys = Keys("status", "cluster")
        for number in range(2):
            add(redis_client, update(id_in(number), "pending"), keys=keys)
        wait_until(lambda: drained(redis_client, keys))
        result = rules(server.url, "apply", file, "--yes")
        assert (result.returncode, result.stdout) == (78, "")
        [line] = result.stderr.splitlines()
        assert "task.phases: pending is left out, but 2 entities are in it: keep" in line
        for number in range(2):
            add(redis_client, update(id_in(number), "cancelled", NOW + 1), keys=keys)
        wait_until(lambda: drained(redis_client, keys))
        result = rules(server.url, "apply", file, "--yes")
        assert (result.returncode, result.stderr) == (0, "")


BAD_META = {
    "no JSON": ({"rules": "{", "rules:1": "{"}, "rules: status:meta has none that this release"),
    "newer rules": (
        {"rules": '{"max_age":1}', "rules:1": '{"max_age":1}'},
        "run a release that can, or restore them",
    ),
    "no rules": ({"rules": None}, "rules: status:meta has no such field"),
    "another revision": ({"revision": "2"}, "the same in rules and in rules:2"),
    "newer release": ({"version": "3"}, "version: configured is 2"),
    "older release": ({"version": "1"}, "version: status:meta is of the first release"),
}


@pytest.mark.parametrize(("changes", "says"), BAD_META.values(), ids=BAD_META)
@pytest.mark.parametrize("verb", ["show", "diff", "apply"])
def test_rules_that_cannot_be_read(
    server: Server, deployment: Redis, changes: dict[str, str | None], says: str, verb: str
) -> None:
    """One line names the field and the way out; nothing is written."""
    for field, value in changes.items():
        deployment.hdel(KEYS.meta, field)
        if value is not None:
            deployment.hset(KEYS.meta, field, value)
    before = deployment.hgetall(KEYS.meta)
    result = rules(server.url, verb)
    assert (result.returncode, result.stdout) == (78, "")
    [line] = result.stderr.splitlines()
    assert says in line
    assert deployment.hgetall(KEYS.meta) == before


def test_bad_input(server: Server, deployment: Redis, tmp_path: Path) -> None:
    """A file that is none, one whose content cannot work, a user who may not write, no server."""
    before = deployment.hgetall(KEYS.meta)
    wrong = write(tmp_path, ('terminal = ["completed"]', 'terminal = ["gone"]'))
    deployment.acl_setuser(
        "viewer",
        enabled=True,
        passwords=["+s3cret"],
        keys=["%R~status:*"],
        commands=["+@read", "+@connection", "+info", "+evalsha", "+eval"],
    )
    viewer = logged_in(server.url, "viewer", "s3cret")
    (tmp_path / "good").mkdir()
    good = write(tmp_path / "good", SEVEN)
    for url, file, code, says in [
        (server.url, str(tmp_path / "none.toml"), 78, "none.toml: cannot be read"),
        (server.url, wrong, 78, "mine.toml: task.terminal: 'gone' is no task phase"),
        (viewer, good, 69, "No"),
        ("redis://127.0.0.1:1", good, 69, "redis://127.0.0.1:1"),
    ]:
        result = rules(url, "apply", file, "--yes")
        assert result.returncode == code, result
        [line] = result.stderr.splitlines()
        assert says.lower() in line.lower()
        assert "s3cret" not in line
    deployment.acl_deluser("viewer")
    assert deployment.hgetall(KEYS.meta) == before
