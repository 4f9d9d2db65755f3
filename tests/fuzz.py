"""Asking the HTTP API whatever its OpenAPI document allows, and what it does not: by Schemathesis.

`python -m tests.fuzz 200` does so for long, of each layout, with actions and without auth.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from status_tracker.keys import Layout

from tests.command import COMMAND, environment
from tests.line import deployed
from tests.publishing import Publisher
from tests.servers import Server, binaries

SECRET = "letters" * 3
WITHOUT_END = ("/changes", "/entity/wait")
"""What answers only when something happens."""

CANNOT_BE_SAID = "positive_data_acceptance"
"""Schemas know nothing of tokens, or of which phases a kind has."""


@contextmanager
def dashboard(folder: Path, url: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command; yield its process, and where the API is."""
    process = subprocess.Popen(
        [*COMMAND, "dashboard", "--redis-url", url, "--port", "0", *options],
        cwd=folder,
        env=environment(API_TOKEN=SECRET),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.endswith("/\n"), line + process.stderr.read()
        yield process, f"{line.strip()}api/v1"
    finally:
        process.kill()
        process.communicate()


def fuzz(folder: Path, server: Server, layout: Layout, examples: int, *, acts: bool) -> str:
    """Ask; return what was wrong, or nothing."""
    with server.client() as client:
        client.flushall()
        published = Publisher(client, deployed(layout=layout, partitions=4))
        for kind in published.deployment.rules.kinds:
            published.change("0", published.deployment.rules.kinds[kind].phases[0], kind=kind)
        published.mark("0", 1)
        published.reject("0", "future", b"\xff")
    options = ["--auth", "bearer:env:API_TOKEN", "--allow-actions"] if acts else []
    with dashboard(folder, server.url, *options) as (_, api):
        tool = [str(Path(sys.executable).with_name("schemathesis")), "run"]
        tool += [f"{api}/openapi.json", "--url", api, "--phases", "fuzzing"]
        tool += ["--max-examples", str(examples), "--warnings", "off"]
        tool += ["--exclude-checks", CANNOT_BE_SAID, "--seed", "1", "--generation-database", "none"]
        tool += [part for path in WITHOUT_END for part in ("--exclude-path", path)]
        tool += ["-H", f"Authorization: Bearer {SECRET}"]
        ran = subprocess.run(
            tool, check=False, capture_output=True, text=True, cwd=folder, env=environment()
        )
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def main(examples: int) -> int:
    """Do so for long; return the exit code."""
    wrong = 0
    binary = next(iter(binaries().values()))
    layouts: tuple[Layout, ...] = ("single", "cluster")
    with tempfile.TemporaryDirectory() as name, Server(binary, Path(name)) as server:
        for layout in layouts:
            for acts in (False, True):
                found = fuzz(Path(name), server, layout, examples, acts=acts)
                print(f"{layout}, {'actions' if acts else 'no auth'}: {found or 'all is well'}")
                wrong += bool(found)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
