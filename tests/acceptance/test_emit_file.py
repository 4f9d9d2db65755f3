"""`status-tracker emit --from-file`: all or nothing, and each update once, however it was ended."""

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from status_tracker.client.emitting import BATCH

from tests.command import COMMAND, DEADLINE, Ran, environment, invoked
from tests.events import NOW, add
from tests.line import deployed, meta_of
from tests.servers import Redis, Server, wait_until

PARTITIONS = 4


@pytest.fixture(params=["single", "cluster"])
def deployment(request: pytest.FixtureRequest, redis_client: Redis) -> Any:
    """A deployment that nobody reads."""
    found = deployed(layout=request.param, partitions=PARTITIONS)
    redis_client.hset(found.keys.meta, mapping=meta_of(found))
    return found


def written(path: Path, lines: Sequence[str | bytes]) -> Path:
    """Write lines into a file."""
    raw = [line.encode() if isinstance(line, str) else line for line in lines]
    path.write_bytes(b"".join(line + b"\n" for line in raw))
    return path


def of(number: int, **fields: Any) -> str:
    """Return an update as a line."""
    return json.dumps({"kind": "task", "id": f"t-{number}", "phase": "pending", **fields})


def sent(client: Redis, deployment: Any) -> list[str]:
    """Return all updates in the streams."""
    return [
        fields["data"]
        for number in range(PARTITIONS)
        for _, fields in client.xrange(deployment.keys.events(number))
    ]


def length(client: Redis, deployment: Any) -> int:
    """Return how many entries the streams have."""
    return sum(client.xlen(deployment.keys.events(number)) for number in range(PARTITIONS))


def has_more(client: Redis, deployment: Any, before: int) -> bool:
    """Tell whether a batch came since."""
    return length(client, deployment) > before + BATCH


def emit(server: Server, file: Path | str, *options: str, given: bytes = b"") -> Ran:
    """Run the command within this process."""
    url = ["--redis-url", server.url]
    return invoked("emit", "--from-file", str(file), *options, *url, given=given)


def test_each_line_is_an_update(
    server: Server, redis_client: Redis, deployment: Any, tmp_path: Path
) -> None:
    """Bytes go as they are; one without a time is of now; empty lines are none."""
    timed = of(1, updatedAt=NOW, note="é", progress=1.0)
    file = written(tmp_path / "updates", [timed, "", of(2) + "\r", "  "])
    assert emit(server, file).lines == ["sent: 2"]
    one, two = sorted(sent(redis_client, deployment))
    assert one == timed
    seconds, _ = redis_client.time()
    assert abs(json.loads(two)["updatedAt"] / 1000 - seconds) < 60
    given = file.read_bytes()
    assert emit(server, "-", "--json", given=given).documents == [{"sent": 2}]
    assert len(sent(redis_client, deployment)) == 4


WRONG = {
    "no JSON": ("oops", "not JSON"),
    "cut": ('{"kind":"task","id":', "not JSON"),
    "no text": (b'{"kind":"task","id":"\xff"}', "not JSON"),
    "no object": ("[1]", "not a JSON object"),
    "no kind": ('{"id":"a"}', "kind: missing; must be task or asset"),
    "no phase": (of(7, phase="runing"), 'phase: "runing"; must be pending, waiting,'),
    "seconds": (of(7, updatedAt=1_700_000_000), "updatedAt: 1700000000; must be milliseconds"),
    "an id with a space": (of(7, id="a b"), "id: 'a b'; must be text"),
    "too large": (of(7, errorMessage="x" * 100_000), "over max_event_bytes (65536): send less"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_line_that_cannot_be_sent(
    server: Server,
    redis_client: Redis,
    deployment: Any,
    tmp_path: Path,
    wrong: tuple[str | bytes, str],
) -> None:
    """Its number and what is wrong with it are said, in 65, and nothing was sent."""
    line, says = wrong
    file = written(tmp_path / "updates", [*map(of, range(6)), line, of(8)])
    found = emit(server, file)
    assert (found.code, found.out) == (65, "")
    assert found.err.startswith(f"status-tracker: {file}:7: {says}")
    assert found.err.endswith("; nothing was sent\n")
    assert sent(redis_client, deployment) == []
    assert not list(tmp_path.glob("*.sent"))


def test_many_lines_that_cannot_be_sent(server: Server, deployment: Any, tmp_path: Path) -> None:
    """The first of them are told, and how many there are."""
    file = written(tmp_path / "updates", ["oops"] * 50)
    *each, last = emit(server, file).err.splitlines()
    assert [line.split(":")[1] for line in each] == [str(number) for number in range(1, 11)]
    assert last == f"status-tracker: {file}: 50 lines cannot be sent; nothing was sent"
    assert emit(server, tmp_path / "gone").err.endswith(
        "cannot be read: No such file or directory\n"
    )


def test_a_kill_in_the_middle(
    server: Server, redis_client: Redis, deployment: Any, tmp_path: Path
) -> None:
    """Whoever goes on sends each line once, whatever others add meanwhile; equal lines, too."""
    lines = [of(number // 2) for number in range(16 * BATCH)]
    file = written(tmp_path / "updates", lines)
    command = [*COMMAND, "emit", "--from-file", str(file), "--redis-url", server.url]
    for number in range(2):
        options = ["--resume"] if number else []
        before = length(redis_client, deployment)
        with subprocess.Popen([*command, *options], env=environment()) as process:
            wait_until(partial(has_more, redis_client, deployment, before))
            process.kill()
            assert process.wait(DEADLINE) == -signal.SIGKILL
        add(redis_client, of(number, updatedAt=NOW).encode(), keys=deployment.keys)
    assert "of its updates were sent: go on with --resume" in emit(server, file).err
    assert emit(server, file, "--resume").code == 0
    ids = Counter(json.loads(data)["id"] for data in sent(redis_client, deployment))
    assert ids == Counter(json.loads(line)["id"] for line in lines) + Counter(["t-0", "t-1"])
    assert emit(server, file, "--resume").lines == ["sent: 0"]


def test_what_was_sent_but_not_noted(
    server: Server, redis_client: Redis, deployment: Any, tmp_path: Path
) -> None:
    """A kill between a batch and its notes: the streams tell what of it is there."""
    file = written(tmp_path / "updates", [of(number, updatedAt=NOW) for number in range(10)])
    notes = tmp_path / "updates.sent"
    assert emit(server, written(tmp_path / "none", [])).lines == ["sent: 0"]
    notes.write_bytes((tmp_path / "none.sent").read_bytes())
    for number in (2, 5, 7):
        add(redis_client, of(number, updatedAt=NOW).encode(), keys=deployment.keys)
    assert emit(server, file, "--resume").lines == ["sent: 7"]
    assert len(set(sent(redis_client, deployment))) == len(sent(redis_client, deployment)) == 10


def test_another_file_of_the_same_name(
    server: Server, redis_client: Redis, deployment: Any, tmp_path: Path
) -> None:
    """One that grew is gone on with; one whose beginning changed is not taken for it."""
    file = written(tmp_path / "updates", [of(1, updatedAt=NOW)])
    assert emit(server, file).lines == ["sent: 1"]
    written(file, [of(1, updatedAt=NOW), of(2, updatedAt=NOW)])
    assert emit(server, file, "--resume").lines == ["sent: 1"]
    written(file, [of(3, updatedAt=NOW), of(2, updatedAt=NOW)])
    found = emit(server, file, "--resume")
    assert (found.code, len(sent(redis_client, deployment))) == (65, 2)
    assert f"its first 2 updates are not those that were sent: delete {file}.sent" in found.err
    (tmp_path / "updates.sent").write_text("?")
    assert "these are no notes: delete it" in emit(server, file, "--resume").err
