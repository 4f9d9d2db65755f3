"""The commands as people and scripts run them: processes, beside workers of both layouts."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from status_tracker.keys import Keys, Layout

from tests.acceptance.tracker import drained, tracker
from tests.command import COMMAND, DEADLINE, Ran, environment, invoked, ran
from tests.servers import Server, binaries, wait_until


class Site(NamedTuple):
    """A deployment with a worker."""

    server: Server
    keys: Keys

    @property
    def options(self) -> list[str]:
        """What leads a command there."""
        return ["--redis-url", self.server.url, "--prefix", self.keys.prefix]

    def run(self, *arguments: str, **others: str) -> Ran:
        """Run a command as a process."""
        return ran([*arguments, *self.options], variables=others)

    def sent(self, *update: str) -> None:
        """Send an update, and wait until the worker has read everything."""
        assert invoked("emit", *update, *self.options).code == 0
        self.settled()

    def settled(self) -> None:
        """Wait until the worker has read everything."""
        with self.server.client() as client:
            wait_until(lambda: drained(client, self.keys))


LAYOUTS: list[Layout] = ["single", "cluster"]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[Layout, Site]]:
    """A deployment of each layout, for all tests here."""
    folder = tmp_path_factory.mktemp("sites")
    with ExitStack() as stack:
        server = stack.enter_context(Server(binaries()["valkey"], folder / "server"))
        found = {layout: Site(server, Keys(f"status:{layout}", layout)) for layout in LAYOUTS}
        for layout, site in found.items():
            worker = [*site.options, "--layout", layout]
            stack.enter_context(tracker(folder / layout, *worker))
            site.settled()
        yield found


@pytest.fixture(params=LAYOUTS)
def site(request: pytest.FixtureRequest, sites: Mapping[Layout, Site]) -> Site:
    """One of them."""
    return sites[request.param]


def on_terminal(site: Site, *arguments: str, columns: int = 100, **others: str) -> tuple[int, str]:
    """Run a command on a terminal; return its exit code, and all that it wrote there."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [*COMMAND, *arguments, *site.options]
    with subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env=environment(**others)
    ) as process:
        os.close(follower)
        written = b""
        with suppress(OSError):  # how Linux says that nobody has the other end
            while some := os.read(leader, 65_536):
                written += some
        os.close(leader)
        return process.wait(DEADLINE), written.decode().replace("\r\n", "\n")


def test_a_life_from_the_shell(site: Site) -> None:
    """Each command does what its help says; each prints what a script can read."""
    [entry] = site.run("emit", "task", "life", "pending").lines
    assert re.fullmatch(r"\d+-\d+", entry)
    now = str(int(time.time() * 1000))
    waiting = ["--progress", "0.5", "--attempt", "3", "--updated-at", now]
    site.run("emit", "task", "life", "waiting", *waiting)
    assert site.run("wait", "task", "life", "--until", "waiting").lines == ["waiting"]
    [status] = site.run("get", "task", "life", "--json").documents
    assert (status["phase"], status["progress"], status["attempt"]) == ("waiting", 0.5, 3)
    assert f'"updatedAt":{now}}}' in site.run("get", "task", "life", "--json").out
    assert [each["id"] for each in site.run("list", "task", "waiting", "--json").documents] == [
        "life"
    ]
    assert site.run("counts", "task", "--json").documents[0]["counts"]["waiting"] == 1
    late = site.run("set", "task", "life", "completed")
    assert (late.code, late.out[:29]) == (1, "rejected: illegal_transition:")
    [done] = site.run("set", "task", "life", "cancelled", "--json").documents
    assert (done["before"]["phase"], done["after"]["phase"]) == ("waiting", "cancelled")
    assert done["rejected"] is None
    settled = site.run("wait", "task", "life", "--timeout", "20s", "--json")
    assert (settled.code, settled.documents[0]["phase"]) == (1, "cancelled")
    assert site.run("history", "task", "life").code == 1
    asyncapi = site.run("schema", "asyncapi").out
    assert f'"{site.keys.partition(0).changes.replace("{0}", "{partition}")}"' in asyncapi
    assert site.run("fleet").code == 0


def test_what_is_refused_is_not_sent(site: Site) -> None:
    """The line says what may be there, in 2; the streams stay as they are."""
    site.settled()
    with site.server.client() as client:
        before = [client.xlen(site.keys.events(number)) for number in range(4)]
        for arguments, says in (
            (["task", "x", "runing"], 'phase: "runing"; must be pending, waiting, running, '),
            (["task", "a b", "pending"], "id: 'a b'; must be text"),
            (["task", "x", "pending", "--progress", "2"], "'2': write a number from 0 to 1"),
            (["task", "x", "pending", "--updated-at", "1700000000"], "seconds are refused"),
            (["asset", "x", "waiting", "--restart"], "restart: asset counts no retries"),
            (["task", "x"], "give KIND, ID and PHASE, or --from-file FILE"),
            (["task", "x", "pending", "--resume"], "--resume: goes on with a file"),
            (["--from-file", "-", "--progress", "0"], "the file says all"),
            (["--from-file", "-", "--resume"], "of standard input nothing is noted"),
        ):
            found = invoked("emit", *arguments, *site.options)
            assert (found.code, found.out) == (2, "")
            assert says in found.err
        assert [client.xlen(site.keys.events(number)) for number in range(4)] == before


COLOUR = re.compile(r"\x1b\[[\d;]*3[0-7][\d;]*m")


def test_on_a_terminal(site: Site) -> None:
    """A table as wide as the terminal is; NO_COLOR takes the colours away, a pipe all of it."""
    site.sent("task", "shown", "pending")
    code, wide = on_terminal(site, "get", "task", "shown")
    assert code == 0
    assert "\x1b[1m" in wide  # the names of the columns are bold
    code, narrow = on_terminal(site, "get", "task", "shown", columns=40)
    assert (code, narrow.split("\n")[:2]) == (0, ["id: shown", "phase: pending"])
    _, plain = on_terminal(site, "fleet", NO_COLOR="1")
    assert not COLOUR.search(plain)
    assert "\x1b" not in site.run("get", "task", "shown").out


@pytest.mark.parametrize(
    "command", ["list task pending --limit 0", "counts", "rejected list --each"]
)
def test_a_closed_pipe(site: Site, command: str) -> None:
    """`… | head -0` ends it without a word."""
    site.sent("task", "piped", "pending")
    site.sent("task", "never", "running")
    line = " ".join([*COMMAND, command, *site.options])
    if not shutil.which("bash"):
        pytest.skip("only bash tells the exit code of the first command of a pipe")
    found = subprocess.run(
        ["bash", "-c", f"{line} --json | (exec <&-; true); echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
        timeout=DEADLINE,
    )
    assert (found.stdout, found.stderr) == ("141\n", "")


def test_the_embedded_server_of_this_folder(tmp_path: Path) -> None:
    """Where no server is given it is meant, and that is said; where one is given, that is meant."""
    with tracker(tmp_path, "--embedded") as worker:
        worker.says("embedded server: ")
        url = re.search(r"redis://\S+", worker.log)
        assert url
        found = wait_until(lambda: _counted(tmp_path))
        assert found.err == f"the server is the embedded one of .status-tracker/: {url[0]}\n"
        other = ran(["counts", "--redis-url", "redis://127.0.0.1:1/0"], cwd=tmp_path)
        assert other.code == 69
        by_variable = {"STATUS_REDIS_URL": "redis://127.0.0.1:1/0"}
        assert ran(["counts"], cwd=tmp_path, variables=by_variable).code == 69
        assert worker.stop() == 0
    gone = ran(["counts"], cwd=tmp_path, variables={"STATUS_PREFIX": "nobody"})
    assert "embedded" not in gone.err


def _counted(folder: Path) -> Ran | None:
    found = ran(["counts"], cwd=folder)
    return found if found.code == 0 else None
