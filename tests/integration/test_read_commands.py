"""`get`, `list`, `counts`, `history`, `wait` and `watch`, on keys that a worker left."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from status_tracker import StatusReader

from tests.command import COMMAND, DEADLINE, Ran, environment, invoked
from tests.events import NOW
from tests.line import RULES, deployed
from tests.publishing import Publisher
from tests.servers import Redis, Server, free_port, wait_until

KEPT = msgspec.structs.replace(RULES, history=10)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run where no embedded server is."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["single", "cluster"])
def published(request: pytest.FixtureRequest, redis_client: Redis) -> Publisher:
    """A deployment of each layout, empty."""
    return Publisher(redis_client, deployed(KEPT, layout=request.param, partitions=4))


@pytest.fixture
def run(server: Server) -> Callable[..., Ran]:
    """Run a command on the server."""
    return lambda *arguments, **others: invoked(*arguments, "--redis-url", server.url, **others)


def test_get(run: Callable[..., Ran], published: Publisher) -> None:
    """The documents, with whom they are about; whoever has none is named, in 1."""
    published.change("a", "failed", progress=0.4, errorMessage="no \x1b disk", attempt=2)
    [document] = run("get", "task", "a", "--json").documents
    said = {"phase": "failed", "progress": 0.4, "errorMessage": "no \x1b disk", "attempt": 2}
    assert document == {"kind": "task", "id": "a", **said, "retries": 0, "updatedAt": NOW + 1}
    head, _, row = run("get", "task", "a").lines
    assert head.split() == ["id", "phase", "progress", "retries", "attempt", "updated", "error"]
    when = ["2023-11-14", "22:13:20Z"]
    assert row.split() == ["a", "failed", "40%", "0", "2", *when, "no", r"\x1b", "disk"]
    found = run("get", "task", "never", "a", "--json")
    assert [each["id"] for each in found.documents] == ["a"]
    assert (found.code, found.err) == (1, "status-tracker: task never has no status\n")


def test_list(run: Callable[..., Ran], published: Publisher) -> None:
    """By when they entered the phase, the newest first or last, or by their ids."""
    for number in range(5):
        published.change(f"t-{number}", "running")
    published.change("other", "pending")

    def ids(*arguments: str) -> list[str]:
        return [each["id"] for each in run("list", "task", *arguments, "--json").documents]

    assert ids("running") == ["t-4", "t-3", "t-2", "t-1", "t-0"]
    assert ids("running", "--oldest", "--limit", "2") == ["t-0", "t-1"]
    assert ids("running", "--limit", "0") == ids("running")
    assert ids("--id", "t-[13]") == ["t-1", "t-3"]
    assert run("list", "task", "failed").lines == []


def test_list_stalled(run: Callable[..., Ran], published: Publisher) -> None:
    """Since when, in a column and in the documents; the one that is stuck for longest, if asked."""
    for number in range(3):
        published.change(f"t-{number}", "running", errorMessage="no disk")
        published.mark(f"t-{number}", NOW + 60_000 * number)
    found = run("list", "task", "--stalled", "--json").documents
    assert [(each["id"], each["stalledSince"]) for each in found] == [
        ("t-2", NOW + 120_000),
        ("t-1", NOW + 60_000),
        ("t-0", NOW),
    ]
    head, _, row = run("list", "task", "--stalled", "--oldest", "--limit", "1").lines
    assert head.split() == ["id", "phase", "retries", "updated", "stalled", "since", "error"]
    when = ["2023-11-14", "22:13:20Z"]
    assert row.split() == ["t-0", "running", "0", *when, *when, "no", "disk"]


def test_counts(run: Callable[..., Ran], published: Publisher) -> None:
    """Of a kind or of all, in the order of the rules."""
    published.change("a", "running")
    published.change("v", "ready", kind="asset")
    [task, asset] = run("counts", "--json").documents
    assert list(task["counts"]) == [*RULES.kinds["task"].phases]
    assert (task["counts"]["running"], asset["counts"]["ready"]) == (1, 1)
    assert run("counts", "asset", "--json").documents == [asset]
    assert run("counts", "task").lines[4].split() == ["task", "running", "1"]


def test_history(run: Callable[..., Ran], published: Publisher) -> None:
    """The newest first; none is 1, and why."""
    published.change("a", "pending")
    published.change("a", "waiting", progress=0.5)
    last, first = run("history", "task", "a", "--json").documents
    assert (last["from"], last["phase"], "from" in first) == ("pending", "waiting", False)
    assert "pending   waiting" in run("history", "task", "a").lines[2]
    found = run("history", "task", "b")
    assert (found.code, found.err) == (1, "status-tracker: no changes: task b has none\n")


def test_history_that_is_not_kept(run: Callable[..., Ran], redis_client: Redis) -> None:
    """It says which rule it is."""
    Publisher(redis_client)
    assert run("history", "task", "a").err.endswith("the rules keep none: set history in them\n")


@pytest.mark.parametrize(
    ("phase", "arguments", "code"),
    [
        ("completed", (), 0),
        ("failed", (), 1),
        ("cancelled", (), 1),
        ("running", ("--until", "running"), 0),
        ("failed", ("--until", "running"), 1),
        ("running", ("--timeout", "0s"), 124),
    ],
)
def test_wait(
    run: Callable[..., Ran],
    published: Publisher,
    phase: str,
    arguments: tuple[str, ...],
    code: int,
) -> None:
    """A script reads from the exit code how it ended, and from the output in which phase."""
    published.change("a", phase)
    found = run("wait", "task", "a", *arguments)
    assert found.code == code
    if code == 124:
        assert (found.out, found.err) == ("", "status-tracker: task a is running after 0 s\n")
    else:
        assert (found.out, found.err) == (f"{phase}\n", "")


def test_wait_in_a_shell_script(server: Server, published: Publisher) -> None:
    """It waits for what is not there yet, and the script goes on by the exit code."""
    script = (
        f"if phase=$({' '.join(COMMAND)} wait task a --redis-url {server.url}); "
        "then echo good $phase; else echo bad $phase $?; fi"
    )
    with subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, text=True, env=environment()
    ) as shell:
        published.change("a", "running")
        published.change("a", "failed")
        out, _ = shell.communicate(timeout=DEADLINE)
    assert out == "bad failed 1\n"


@pytest.mark.parametrize("wanted", [[], ["task"], ["task", "a"]], ids=" ".join)
def test_watch(server: Server, published: Publisher, tmp_path: Path, wanted: list[str]) -> None:
    """Each change is told when it happens, into a pipe, too; Ctrl-C ends it in 0."""
    published.change("a", "pending")
    output = tmp_path / "out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, "watch", *wanted, "--redis-url", server.url, "--json"],
            stdout=file,
            env=environment(),
        )
    try:

        def told(phase: str) -> bool:
            published.change("v", "waiting", kind="asset")  # until it follows
            published.change("a", phase)
            return any(
                (each["id"], each["phase"]) == ("a", phase)
                for each in map(json.loads, output.read_text().splitlines())
            )

        wait_until(lambda: told("running"))
        wait_until(lambda: told("completed"))
    finally:
        process.terminate()
        code = process.wait(DEADLINE)
    assert code == 0
    kinds = {json.loads(line)["kind"] for line in output.read_text().splitlines()}
    assert kinds == ({"task"} if wanted else {"task", "asset"})


def test_watch_goes_on_after_a_token(server: Server, published: Publisher, tmp_path: Path) -> None:
    """What happened meanwhile is told; a token of another deployment is a wrong command line."""
    found = invoked("watch", "--after", "AAAA", "--redis-url", server.url)
    assert found.code == 2
    assert "after: it is no token of this deployment" in found.err
    with StatusReader(server.url) as reader:
        token = reader.snapshot("task").token
    published.change("a", "pending")
    output = tmp_path / "out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, "watch", "--after", token, "--redis-url", server.url],
            stdout=file,
            env=environment(),
        )
    try:
        wait_until(lambda: "task a: new -> pending\n" in output.read_text())
    finally:
        process.kill()
        process.wait()
    for key in published.client.scan_iter("status:changes*"):
        published.client.xtrim(key, maxlen=0)
    found = invoked("watch", "--after", token, "--redis-url", server.url)
    assert found.code == 1
    assert "take a new snapshot" in found.err


REFUSED = {
    "no kind": (["get", "job", "a"], "kind: job; must be task or asset"),
    "no phase": (["list", "task", "ready"], "phase: ready; must be pending, waiting, running"),
    "a space": (["get", "task", "a b"], "id: 'a b'; must be text of 1 to 256 characters"),
    "no text": (["get", "task", "\udcff"], r"'\udcff': holds bytes that are no UTF-8"),
    "no phase to wait for": (["wait", "task", "a", "--until", "x"], "phase: x; must be"),
    "no kind to wait for": (["wait", "job", "a"], "kind: job; must be task or asset"),
    "no kind to watch": (["watch", "job"], "kind: job; must be task or asset"),
    "no duration": (["wait", "task", "a", "--timeout", "10"], "'--timeout': '10': write"),
    "neither phase nor pattern": (
        ["list", "task"],
        "give one of PHASE, --stalled and --id PATTERN",
    ),
    "a phase and stalled": (
        ["list", "task", "running", "--stalled"],
        "give one of PHASE, --stalled and",
    ),
    "no order": (["list", "task", "--id", "a", "--oldest"], "--oldest: there is no order"),
}


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("arguments", "says"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_command_line(run: Callable[..., Ran], arguments: list[str], says: str) -> None:
    """It says what may be there, in 2."""
    found = run(*arguments)
    assert (found.code, found.out) == (2, "")
    assert says in found.err


@pytest.mark.parametrize(
    "command", ["get task a", "counts", "wait task a", "watch", "emit task a pending"]
)
def test_no_server(command: str) -> None:
    """A server that is away ends each command in 69, in one line, without a password."""
    url = f"redis://viewer:s3cret@127.0.0.1:{free_port()}/0"
    found = invoked(*command.split(), "--redis-url", url)
    assert (found.code, found.out) == (69, "")
    assert found.err.count("\n") == 1
    assert "s3cret" not in found.err


@pytest.mark.parametrize("command", ["get task a", "counts", "rejected list", "schema update"])
def test_no_deployment(run: Callable[..., Ran], redis_client: Redis, command: str) -> None:
    """A wrong prefix is not taken for a deployment, nor made one."""
    found = run(*command.split(), "--prefix", "jobs")
    assert (found.code, found.out) == (78, "")
    assert found.err.startswith("status-tracker: no deployment with prefix jobs: ")
    assert redis_client.dbsize() == 0


def test_a_narrow_terminal(run: Callable[..., Ran], published: Publisher) -> None:
    """In 40 columns a row becomes lines; whoever has few cells stays a table."""
    published.change(
        "a", "failed", progress=0.4, errorMessage="the disk is full, and so on", attempt=2
    )
    lines = run("get", "task", "a", columns=40).lines
    assert lines[:3] == ["id: a", "phase: failed", "progress: 40%"]
    counts = run("counts", "task", columns=40).lines
    assert len(counts) == 8
    assert max(map(len, counts)) <= 40
