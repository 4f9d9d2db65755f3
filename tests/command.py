"""The command: within this process, where no process is needed, and as one."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner
from status_tracker.cli import cli
from status_tracker.errors import CommandError
from status_tracker.text import escaped

COMMAND = [sys.executable, "-m", "status_tracker"]
DEADLINE = 30.0
"""Seconds after which a command counts as hanging."""


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines that it printed, when all was well."""
        assert (self.code, self.err) == (0, ""), self
        return self.out.splitlines()

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The documents that it printed, one a line, whatever its exit code is."""
        return [json.loads(line) for line in self.out.splitlines()]


OWN = ("STATUS_", "COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_")
"""How the variables begin that a command looks at."""


def environment(**others: str) -> dict[str, str]:
    """Return the variables of a command, without what whoever runs the tests has set."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith(OWN)}
    root = str(Path(__file__).parents[1])
    return {**clean, "PYTHONPATH": root, "TERM": "xterm-256color", **others}


def invoked(*arguments: str, columns: int = 200, given: bytes = b"", **others: str) -> Ran:
    """Run a command within this process, with other variables than those of `environment`."""
    unset = {name: None for name in os.environ if name.startswith(OWN)}
    runner = CliRunner(env={**unset, "COLUMNS": str(columns), **others})
    result = runner.invoke(cli, list(arguments), input=given)
    code, err = result.exit_code, result.stderr
    error = result.exception
    if isinstance(error, CommandError):
        code, err = error.exit_code, f"{err}status-tracker: {escaped(str(error))}\n"
    elif error is not None and not isinstance(error, SystemExit):
        raise error
    return Ran(code, result.stdout, err)


def ran(
    arguments: Sequence[str], *, cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> Ran:
    """Run a command as a process."""
    result = subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(**(variables or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    return Ran(result.returncode, result.stdout, result.stderr)
