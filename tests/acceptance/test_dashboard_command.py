"""`status-tracker dashboard` as a user runs it."""

import http.client
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import invoked
from tests.fuzz import SECRET, dashboard, fuzz
from tests.publishing import Publisher
from tests.servers import Server, binaries


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one kind: what HTTP is asked does not differ."""
    with Server(next(iter(binaries().values())), tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.mark.parametrize("acts", [False, True], ids=["no auth", "actions"])
def test_it_answers_as_its_document_says(tmp_path: Path, one_server: Server, acts: bool) -> None:
    """Whatever is asked: `.ci/nightly` asks for longer."""
    found = fuzz(tmp_path, one_server, "cluster" if acts else "single", 3, acts=acts)
    assert found == ""


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, one_server: Server) -> None:
    """With streams open, too; the exit code says that all was well, and nothing was said."""
    with one_server.client() as client:
        client.flushall()
        Publisher(client).change("a", "running")
    options = ("--auth", "bearer:env:API_TOKEN", "--allow-actions")
    with dashboard(tmp_path, one_server.url, *options) as (process, api):
        address = api.removeprefix("http://").partition("/")[0]
        connection, stream = (http.client.HTTPConnection(address) for _ in range(2))
        connection.request("GET", "/api/v1/kinds")
        assert connection.getresponse().status == 401
        headers = {"Authorization": f"Bearer {SECRET}"}
        stream.request("GET", "/api/v1/changes", headers=headers)
        answer = stream.getresponse()
        assert answer.readline().startswith(b"retry:")
        process.send_signal(signal.SIGTERM)
        assert answer.read().startswith(b"id:")
        assert process.wait(15) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
        connection.close()
        stream.close()


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (["--host", "::"], 2, "--host ::: give --auth"),
        (["--host", "example.com"], 2, "--host example.com: give --auth"),
        (["--allow-actions"], 2, "--allow-actions: give --auth"),
        (["--cors-origin", "*"], 2, "--cors-origin *: write it as https://"),
        (["--cors-origin", "https://a.example/"], 2, "--cors-origin https://a.example/: write"),
        (["--auth", "bearer:sesame-open-sesame"], 78, "--auth bearer: the secret is in a file"),
        (["--auth", "bearer:env:NO"], 78, "NO is not in the environment"),
        (["--auth", "basic:file:/no"], 78, "/no: cannot be read: No such file"),
        (["--auth", "bearer:env:SHORT"], 78, "less than 16 characters"),
        (["--auth", "basic:env:SHORT"], 78, "write USER:PASSWORD"),
        (["--auth", "proxy:X-User:somewhere"], 78, "'somewhere' does not appear to be"),
        (["--auth", "proxy:X-User"], 78, "an address are needed"),
        (["--auth", "sesame-open-sesame"], 78, "--auth: write bearer:file:PATH"),
    ],
)
def test_what_is_not_safe_does_not_start(options: list[str], code: int, line: str) -> None:
    """It says what to give, and never a secret."""
    ran = invoked("dashboard", "--redis-url", "redis://127.0.0.1:1", *options, SHORT="x")
    assert (ran.code, line in ran.err) == (code, True), ran
    assert "sesame" not in ran.err


def test_a_port_that_is_taken() -> None:
    """One line, and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = invoked("dashboard", "--redis-url", "redis://127.0.0.1:1", "--port", port)
    assert (ran.code, f"127.0.0.1:{port}: " in ran.err, "--port" in ran.err) == (78, True, True)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what to install."""
    monkeypatch.setitem(sys.modules, "status_tracker.dashboard", None)
    ran = invoked("dashboard", "--redis-url", "redis://127.0.0.1:1")
    assert ran.code == 78
    assert ran.err == (
        "status-tracker: the dashboard is not installed: pip install 'status-tracker[dashboard]'\n"
    )
