"""`status-tracker fleet` as a user and as a health check run it, beside real workers."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from status_tracker.keys import Keys

from tests.acceptance.tracker import Tracker, drained, tracker
from tests.events import add, id_in, update
from tests.servers import Redis, Server, wait_until

KEYS = Keys("status", "single")
COMMAND = [sys.executable, "-m", "status_tracker", "fleet"]
SHOW_CURSOR = "\x1b[?25h"
DEADLINE = 30.0
"""Seconds after which a command counts as hanging."""


def environment() -> dict[str, str]:
    """Return the variables of a command in which nobody set anything up."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("STATUS_")}
    for name in ("COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        clean.pop(name, None)
    return {**clean, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm-256color"}


def fleet(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command once, to its end."""
    return subprocess.run(
        [*COMMAND, "--redis-url", url, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
        env=environment(),
    )


class Watch:
    """One `status-tracker fleet --watch`, with its output in a file."""

    def __init__(self, folder: Path, url: str, *options: str) -> None:
        self._output = folder / "watch.out"
        self._errors = folder / "watch.err"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*COMMAND, "--redis-url", url, "--watch", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=environment(),
            )

    @property
    def lines(self) -> list[str]:
        """The whole lines that it wrote."""
        return self._output.read_text().split("\n")[:-1]

    def says(self, pattern: str, *, since: int = 0) -> int:
        """Wait for a line, from that one on, that matches; return how many there were then."""

        def found() -> int | None:
            lines = self.lines
            assert self.process.poll() is None, self._errors.read_text()
            return len(lines) if any(re.search(pattern, line) for line in lines[since:]) else None

        return wait_until(found)

    def interrupt(self) -> int:
        """End it as Ctrl-C does; return its exit code. It leaves no word behind."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(DEADLINE)
        assert self._errors.read_text() == ""
        return code


@contextmanager
def watching(folder: Path, url: str, *options: str) -> Iterator[Watch]:
    """Watch, and end it in any case."""
    watch = Watch(folder, url, *options)
    try:
        yield watch
    finally:
        watch.process.kill()
        watch.process.wait()


@pytest.fixture
def worker(server: Server, redis_client: Redis, tmp_path: Path) -> Iterator[Tracker]:
    """A worker at work, which keeps its leases for long when it is killed."""
    options = ["--redis-url", server.url, "--name", "one"]
    with tracker(tmp_path / "worker", *options, STATUS_LEASE_TTL="10m") as running:
        wait_until(lambda: drained(redis_client, KEYS))
        yield running


def test_all_is_well(server: Server, worker: Tracker) -> None:
    """Tables of partitions and workers for a person, exit code 0 for a health check."""
    result = fleet(server.url, "--max-lag", "0")
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0] == ["partition", "owner", "cursor", "lag", "behind", "lease", "left"]
    assert [line[:6] for line in lines[2:6]] == [
        [str(number), "one", "0-0", "0", "0.0", "s"] for number in range(4)
    ]
    assert lines[6] == ["worker", "heartbeat", "partitions"]
    assert lines[8][0] == "one"
    assert lines[8][3:] == ["ago", "0,", "1,", "2,", "3"]
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_json(server: Server, redis_client: Redis, worker: Tracker) -> None:
    """A script reads the same from one document."""
    entry_id = add(redis_client, update(id_in(3), "pending"), keys=KEYS)
    wait_until(lambda: drained(redis_client, KEYS))
    result = fleet(server.url, "--json")
    assert result.returncode == 0
    document = json.loads(result.stdout)
    assert list(document) == ["healthy", "problems", "partitions", "workers"]
    assert (document["healthy"], document["problems"]) == (True, [])
    for number, seen in enumerate(document["partitions"]):
        assert 0 < seen.pop("lease_left") <= 600
        assert seen == {
            "number": number,
            "owner": "one",
            "cursor": entry_id if number == 3 else "0-0",
            "lag": 0,
            "lag_seconds": 0,
        }
    [seen] = document["workers"]
    assert 0 <= seen.pop("heartbeat_age") < DEADLINE
    assert seen == {"name": "one", "partitions": [0, 1, 2, 3]}


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


def test_no_deployment(server: Server, redis_client: Redis) -> None:
    """A wrong prefix is not taken for a deployment, nor made one."""
    for options in (["--prefix", "jobs"], ["--prefix", "jobs", "--watch"]):
        result = fleet(server.url, *options)
        assert (result.returncode, result.stdout) == (78, "")
        [line] = result.stderr.splitlines()
        assert line.startswith("status-tracker: no deployment with prefix jobs: ")
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
    user = "viewer:s3cret@" if path == "/0" else ""
    result = fleet(server.url.replace("//", f"//{user}").replace("/0", path))
    assert result.returncode == 78
    assert says in result.stderr
    assert "s3cret" not in result.stderr


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


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["tables", "json"])
def test_watch_into_a_pipe_that_is_closed(
    server: Server, worker: Tracker, options: list[str]
) -> None:
    """`… | head -1` ends it without a traceback."""
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
        assert process.wait(DEADLINE) == 1
        assert process.stderr.read() == ""


def test_watch_json_through_an_outage(own_server: Server, tmp_path: Path) -> None:
    """One document a line; while the server is away they say so, and then go on."""
    with tracker(
        tmp_path / "worker", "--redis-url", own_server.url, STATUS_LEASE_TTL="10m"
    ) as running:
        running.says("reading 4 of 4 partitions")
        with watching(tmp_path, own_server.url, "--json") as watch:
            well = watch.says('"healthy":true')
            own_server.stop()
            away = watch.says('"healthy":false', since=well)
            own_server.start()
            watch.says('"healthy":true', since=away)
            assert watch.interrupt() == 0
    documents = [json.loads(line) for line in watch.lines]
    outage = next(each for each in documents if not each["healthy"])
    assert (outage["partitions"], outage["workers"]) == ([], [])
    [problem] = outage["problems"]
    assert re.fullmatch(r"redis://127\.0\.0\.1:\d+/0: .*; trying again", problem)


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
