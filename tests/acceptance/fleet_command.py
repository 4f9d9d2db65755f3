"""The real `status-tracker fleet`: run once, or watching in the background."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.command import invoked
from tests.servers import wait_until

COMMAND = [sys.executable, "-m", "status_tracker", "fleet"]
LEASE_TTL = "10m"
"""The workers', which the command is to know, too: leases of killed ones last as long as a test."""
DEADLINE = 30.0
"""Seconds after which a command counts as hanging."""


def environment() -> dict[str, str]:
    """Return the variables of a command that knows the workers' `lease_ttl` and nothing else."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("STATUS_")}
    for name in ("COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        clean.pop(name, None)
    return {
        **clean,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TERM": "xterm-256color",
        "STATUS_LEASE_TTL": LEASE_TTL,
    }


def completed(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, within this process: one of its own takes ten times as long.

    As processes all commands are run in `test_commands.py`.
    """
    ran = invoked(*arguments, columns=80, STATUS_LEASE_TTL=LEASE_TTL)
    return subprocess.CompletedProcess(arguments, ran.code, ran.out, ran.err)


def fleet(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `status-tracker fleet` once."""
    return completed("fleet", "--redis-url", url, *options)


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
