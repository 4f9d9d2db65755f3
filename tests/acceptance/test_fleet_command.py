"""`status-tracker fleet` as a user and as a health check run it, beside real workers."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from status_tracker.keys import Keys

from tests.acceptance.fleet_command import (
    COMMAND,
    DEADLINE,
    LEASE_TTL,
    environment,
    fleet,
    watching,
)
from tests.acceptance.tracker import Tracker, drained, tracker
from tests.events import add, id_in, update
from tests.line import deployed, meta_of
from tests.security import logged_in
from tests.servers import Redis, Server, wait_until

KEYS = Keys("status", "single")
EXIT_OUTPUT = 74
EXIT_PIPE = 141
SHOW_CURSOR = "\x1b[?25h"


@pytest.fixture
def worker(server: Server, redis_client: Redis, tmp_path: Path) -> Iterator[Tracker]:
    """A worker at work, which keeps its leases for long when it is killed."""
    options = ["--redis-url", server.url, "--name", "one"]
    with tracker(tmp_path / "worker", *options, STATUS_LEASE_TTL=LEASE_TTL) as running:
        wait_until(lambda: drained(redis_client, KEYS))
        yield running


def test_all_is_well(server: Server, worker: Tracker) -> None:
    """Tables of partitions and workers for a person, exit code 0 for a health check."""
    result = fleet(server.url, "--max-lag", "0")
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0] == ["partition", "owner", "cursor", "lag", "behind", "lease", "left", "rules"]
    assert [line[:6] for line in lines[2:6]] == [
        [str(number), "one", "0-0", "0", "0.0", "s"] for number in range(4)
    ]
    assert lines[6] == ["worker", "heartbeat", "partitions"]
    assert lines[8][0] == "one"
    assert lines[8][3:] == ["ago", "0,", "1,", "2,", "3"]
    names = ["applied", "duplicates", "forwarded", "rejected", "lost", "epoch"]
    assert lines[9] == ["partition", *names]
    assert lines[11:15] == [[str(number), *["0"] * 6] for number in range(4)]
    assert lines[15:] == [
        ["rules:", "revision", "1", "is", "in", "force"],
        ["rejected", "entries:", "0", "kept,", "0", "dropped"],
    ]
    assert [line[-1] for line in lines[2:6]] == ["1"] * 4
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_json(server: Server, redis_client: Redis, worker: Tracker) -> None:
    """A script reads the same from one document."""
    entry_id = add(redis_client, update(id_in(3), "pending"), keys=KEYS)
    wait_until(lambda: drained(redis_client, KEYS))
    result = fleet(server.url, "--json")
    assert result.returncode == 0
    document = json.loads(result.stdout)
    assert list(document) == [
        *("healthy", "problems", "notes", "partitions", "workers", "rejected", "revision")
    ]
    assert (document["healthy"], document["problems"], document["notes"]) == (True, [], [])
    for number, seen in enumerate(document["partitions"]):
        assert 0 < seen.pop("lease_left") <= 600
        assert seen == {
            "number": number,
            "owner": "one",
            "cursor": entry_id if number == 3 else "0-0",
            "lag": 0,
            "lag_seconds": 0,
            "totals": {
                "applied": int(number == 3),
                "duplicates": 0,
                "forwarded": 0,
                "rejected": {},
                "lost": 0,
                "epoch": 0,
            },
            "revision": 1,
        }
    [seen] = document["workers"]
    assert 0 <= seen.pop("heartbeat_age") < DEADLINE
    assert seen == {"name": "one", "partitions": [0, 1, 2, 3]}
    assert document["rejected"] == {"kept": 0, "dropped": 0}
    assert document["revision"] == 1


def test_a_lag_that_is_too_long(server: Server, redis_client: Redis, worker: Tracker) -> None:
    """The exit code is 1 over the limit, in entries or in time, and a line says which and why."""
    worker.kill()
    for _ in range(3):
        add(redis_client, update(id_in(2), "pending"), keys=KEYS)
    assert fleet(server.url).returncode == 0
    assert fleet(server.url, "--max-lag", "3").returncode == 0
    assert fleet(server.url, "--max-lag", "1h").returncode == 0
    result = fleet(server.url, "--max-lag", "2")
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.endswith("\npartition 2 lags by 3 entries, over --max-lag 2\n")
    result = fleet(server.url, "--max-lag", "1ms", "--json")
    assert result.returncode == 1
    [problem] = json.loads(result.stdout)["problems"]
    assert re.fullmatch(r"partition 2 lags by [\d.]+ s, over --max-lag 1ms", problem)


def test_no_worker(server: Server, worker: Tracker) -> None:
    """Partitions that nobody reads are named, and the exit code is 1."""
    assert worker.stop() == 0
    result = fleet(server.url)
    assert (result.returncode, result.stderr) == (1, "")
    problems = [f"partition {number} has no owner" for number in range(4)]
    assert result.stdout.splitlines()[-4:] == problems


def test_an_owner_that_does_not_live(server: Server, redis_client: Redis, worker: Tracker) -> None:
    """A lease that nobody will renew keeps a partition unread for an hour: it is named."""
    hour = 3_600_000
    redis_client.set(KEYS.lease(2), "ghost", px=hour)
    result = fleet(server.url)
    assert (result.returncode, result.stderr) == (1, "")
    said = r"partition 2 is held for 3,\d+ s more by ghost, which is no live worker: .*"
    assert re.fullmatch(said, result.stdout.splitlines()[-1])
    worker.kill()
    redis_client.set(KEYS.lease(2), "one", px=hour)
    assert fleet(server.url).returncode == 0
    redis_client.zincrby(KEYS.workers, -hour, "one")
    result = fleet(server.url, "--json")
    assert result.returncode == 1
    problems = json.loads(result.stdout)["problems"]
    said = r"partition 2 is held for 3,\d+ s more by one, which was last heard of 3,\d+ s ago: .*"
    assert re.fullmatch(said, problems[2])


def test_rejected_entries(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """Who looks sees that something was rejected, and what is gone; the fleet is well."""
    options = ["--redis-url", server.url, "--name", "one"]
    with tracker(tmp_path / "worker", *options, STATUS_MAX_REJECTED="2"):
        for number in (0, 0, 3, 3):
            redis_client.xadd(KEYS.events(number), {"data": "no JSON"})
        redis_client.xadd(KEYS.events(3), {"data": "{}"})
        wait_until(lambda: drained(redis_client, KEYS))
        result = fleet(server.url)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.rstrip().endswith(
            "rejected entries: 2 kept, 3 dropped\nrejected so far: 4 malformed, 1 invalid"
        )
        assert json.loads(fleet(server.url, "--json").stdout)["rejected"] == {
            "kept": 2,
            "dropped": 3,
        }


def test_entries_that_were_lost(server: Server, redis_client: Redis, worker: Tracker) -> None:
    """Who trims what was not read yet is told not to; the fleet is well all the same."""
    redis_client.hset(KEYS.partition(2).partition, mapping={"lost": 3, "epoch": 1})
    result = fleet(server.url)
    said = (
        "partition 2 has lost 3 entries, trimmed or deleted before they were read: "
        "trim below the last-delivered ID of its group only"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == said
    assert ["2", "0", "0", "0", "0", "3", "1"] in [
        line.split() for line in result.stdout.splitlines()
    ]
    document = json.loads(fleet(server.url, "--json").stdout)
    assert (document["healthy"], document["problems"], document["notes"]) == (True, [], [said])


def test_counts_on_a_narrow_terminal(server: Server, redis_client: Redis, worker: Tracker) -> None:
    """No digit is left out, whatever the width: a count that is cut looks like a smaller one."""
    count = 123_456_789_012_345
    redis_client.hset(KEYS.partition(0).partition, mapping={"applied": count, "duplicates": count})
    result = subprocess.run(
        [*COMMAND, "--redis-url", server.url],
        capture_output=True,
        text=True,
        check=True,
        env={**environment(), "COLUMNS": "50"},
    )
    _, _, rows = result.stdout.partition("lost")
    assert max(map(len, rows.splitlines())) <= 50
    assert "…" not in rows
    assert sum(map(str.isdigit, rows)) >= 2 * len(str(count))


def test_a_name_that_a_terminal_would_obey(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Whoever may write a key must not draw on an operator's terminal, nor forge a line."""
    name = b"\x1b[2J\r\nall is well\xe2\x80\xae\xff[red]"
    shown = r"\x1b[2J\r\nall is well\u202e\xff[red]"
    redis_client.hset(KEYS.meta, mapping=meta_of(deployed(partitions=2)))
    redis_client.set(KEYS.lease(0), name, px=3_600_000)
    redis_client.set(KEYS.lease(1), name)
    redis_client.zadd(KEYS.workers, {name: 1})
    redis_client.hset(KEYS.partition(1).partition, "cursor", b"\x9b\xff")
    result = fleet(server.url)
    assert (result.returncode, result.stderr) == (1, "")
    assert not [each for each in result.stdout if not each.isprintable() and each != "\n"]
    lines = result.stdout.splitlines()
    held, endless, cursor = lines[-3:]
    assert f"by {shown}, which was last heard of" in held
    assert f"stays with {shown} for ever" in endless
    assert r"holds the cursor \x9b\xff, which is no entry ID" in cursor
    assert not [line for line in lines if line.startswith("all is well")]
    document = json.loads(fleet(server.url, "--json").stdout)
    text = name.decode(errors="backslashreplace")
    assert [each["owner"] for each in document["partitions"]] == [text, text]
    assert document["workers"][0]["name"] == text
    redis_client.delete(KEYS.lease(0), KEYS.lease(1))
    with tracker(tmp_path, "--redis-url", server.url, "--partitions", "2") as running:
        running.says("holds the cursor")
        redis_client.set(KEYS.lease(0), name, px=60_000)
        assert f"its lease is {text}'s now" in running.tells("lease_lost", partition=0)["msg"]
    assert not set(running.log) & set("\x1b\x9b\r\u202e")


def test_no_deployment(server: Server, redis_client: Redis) -> None:
    """A wrong prefix is not taken for a deployment, nor made one."""
    for options in (["--prefix", "status:jobs"], ["--prefix", "status:jobs", "--watch"]):
        result = fleet(server.url, *options)
        assert (result.returncode, result.stdout) == (78, "")
        [line] = result.stderr.splitlines()
        assert line.startswith("status-tracker: no deployment with prefix status:jobs: ")
    assert redis_client.dbsize() == 0


def test_no_server() -> None:
    """A server that does not answer has an exit code of its own; its password is not repeated."""
    result = fleet("redis://viewer:s3cret@127.0.0.1:1/0")
    assert (result.returncode, result.stdout) == (69, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("status-tracker: redis://127.0.0.1:1/0: ")
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("path", "says"), [("/0", "user or password"), ("/999", "no such database")]
)
def test_a_url_that_the_server_refuses(server: Server, path: str, says: str) -> None:
    """What waiting does not mend is a configuration that cannot work."""
    url = logged_in(server.url, "viewer", "s3cret") if path == "/0" else server.url
    result = fleet(url.replace("/0", path))
    assert result.returncode == 78
    assert says in result.stderr
    assert "s3cret" not in result.stderr


def test_ctrl_c_while_the_server_does_not_answer() -> None:
    """Who gives up waiting has not seen an unwell fleet: the exit code is the signal's."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        subprocess.Popen(
            [*COMMAND, "--redis-url", f"redis://127.0.0.1:{silent.getsockname()[1]}"],
            stderr=subprocess.PIPE,
            env=environment(),
        ) as process,
    ):
        silent.settimeout(DEADLINE)
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == -signal.SIGINT
            assert process.stderr is not None
            assert process.stderr.read() == b""


def test_a_max_lag_that_is_none(server: Server) -> None:
    """A slip in the limit is a wrong command line, not a check that always passes."""
    result = fleet(server.url, "--max-lag", "30x")
    assert result.returncode == 2
    assert "--max-lag: '30x'" in result.stderr


def test_watch(server: Server, worker: Tracker, tmp_path: Path) -> None:
    """In a pipe: new tables each second; Ctrl-C ends it with the exit code of the last look."""
    with watching(tmp_path, server.url) as watch:
        once = watch.says(r"one .* ago .* 0, 1, 2, 3")
        watch.says(r"one .* ago .* 0, 1, 2, 3", since=once)
        assert watch.interrupt() == 0
    assert worker.stop() == 0
    with watching(tmp_path, server.url) as watch:
        watch.says("partition 3 has no owner")
        assert watch.interrupt() == 1


FORMS = pytest.mark.parametrize("options", [[], ["--json"]], ids=["tables", "json"])


@FORMS
def test_watch_into_a_pipe_that_is_closed(
    server: Server, worker: Tracker, options: list[str]
) -> None:
    """`… | head -1` ends it without a traceback, and not in 1: the fleet is well."""
    with subprocess.Popen(
        [*COMMAND, "--redis-url", server.url, "--watch", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "partition" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLINE) == EXIT_PIPE
        assert process.stderr.read() == ""


@FORMS
def test_output_that_cannot_be_written(server: Server, worker: Tracker, options: list[str]) -> None:
    """A health check whose output is lost does not say that the fleet is unwell, or well."""
    command = [*COMMAND, "--redis-url", server.url, *options]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        result = subprocess.run(
            command, stdout=closed, stderr=subprocess.PIPE, check=False, env=environment()
        )
    assert (result.returncode, result.stderr) == (EXIT_PIPE, b"")
    if Path("/dev/full").exists():
        with Path("/dev/full").open("wb") as full:
            result = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, check=False, env=environment()
            )
        assert result.returncode == EXIT_OUTPUT
        assert result.stderr == (
            b"status-tracker: the output cannot be written: No space left on device\n"
        )


def test_watch_json_through_an_outage(own_server: Server, tmp_path: Path) -> None:
    """One document a line; while the server is away they say so, and then go on."""
    with tracker(
        tmp_path / "worker", "--redis-url", own_server.url, STATUS_LEASE_TTL=LEASE_TTL
    ) as running:
        running.reads(0, 1, 2, 3)
        with watching(tmp_path, own_server.url, "--json") as watch:
            well = watch.says('"healthy":true')
            own_server.stop()
            away = watch.says('"healthy":false', since=well)
            own_server.start()
            watch.says('"healthy":true', since=away)
            assert watch.interrupt() == 0
    documents = [json.loads(line) for line in watch.lines]
    outage = next(each for each in documents if not each["healthy"])
    assert (outage["partitions"], outage["workers"], outage["rejected"]) == ([], [], None)
    [problem] = outage["problems"]
    assert re.fullmatch(r"rediss?://127\.0\.0\.1:\d+/0: .*; trying again", problem)


def test_watch_while_there_is_no_server(tmp_path: Path) -> None:
    """It waits for a server that is not there yet; ended, it has not seen one."""
    with watching(tmp_path, "redis://127.0.0.1:1/0") as watch:
        once = watch.says("redis://127.0.0.1:1/0: .*; trying again")
        watch.says("redis://127.0.0.1:1/0: .*; trying again", since=once)
        assert watch.interrupt() == 69


def test_watch_on_a_terminal(server: Server, worker: Tracker) -> None:
    """The tables are drawn over the last ones, within 80 columns, and stay when it ends."""
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (24, 80))
    written, told = "", False
    deadline = time.monotonic() + DEADLINE
    with subprocess.Popen(
        [*COMMAND, "--redis-url", server.url, "--watch"],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env=environment(),
    ) as process:
        os.close(inside)
        while select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                written += os.read(terminal, 65536).decode()
            except OSError:  # how Linux says that nobody holds the terminal any more
                break
            if not told and written.count("0, 1, 2, 3") >= 2:
                process.send_signal(signal.SIGINT)
                told = True
        else:
            process.kill()
        os.close(terminal)
    assert process.returncode == 0
    begun, *_, last = written.split("\x1b[1A\x1b[2K")
    assert begun.startswith(SHOW_CURSOR.replace("h", "l"))
    assert SHOW_CURSOR in last
    rows = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", last).split("\r\n")
    assert max(map(len, rows)) <= 80
    assert "partition" in rows[0]
    assert "0, 1, 2, 3" in "".join(rows)
