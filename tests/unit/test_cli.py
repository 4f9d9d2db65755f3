"""The command as a shell sees it: what it prints, on which stream, and its exit code."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from status_tracker.cli import cli
from status_tracker.settings import default_file

from tests.model import PHASES

EXIT_USAGE = 2
EXIT_CONFIG = 78

DEFAULTS = default_file("lifecycles.toml").read_text()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("STATUS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")


def status_tracker(
    *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "status_tracker", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
    )


def printed(*arguments: str | Path) -> str:
    """Run the command within this process; return what it prints when all is well."""
    result = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_check_prints_the_lifecycles() -> None:
    """Every phase and its ways out can be read off, and which file was checked."""
    output = printed("check")
    assert "task: begins in pending; at most 3 retries" in output
    assert "asset: begins in uploading or waiting" in output
    for phases in PHASES.values():
        for phase in phases:
            assert f"│ {phase} " in output
    assert "completed, failed, cancelled" in output
    assert "success, terminal" in output
    assert f"settings and lifecycles are good ({default_file('lifecycles.toml')})" in output


def test_check_draws_both_lifecycles() -> None:
    """The diagrams can be pasted into Markdown: fenced, titled, with every kind of step."""
    task, asset = printed("check", "--mermaid").split("```mermaid\n")[1:]
    for title, diagram in (("task", task), ("asset", asset)):
        assert diagram.startswith(f"---\ntitle: {title}\n---\nstateDiagram-v2\n")
        assert diagram.endswith("```\n")
    assert "    [*] --> pending\n" in task
    assert "    waiting --> running\n" in task
    assert "    running --> waiting: retry\n" in task
    assert "    cancelled --> pending: restart\n" in task
    assert "    completed --> [*]\n" in task
    assert "    [*] --> uploading\n    [*] --> waiting\n" in asset
    assert "    deleting --> ready\n" in asset
    assert "    deleted --> [*]\n" in asset


def test_check_shows_the_lifecycles_it_is_given(tmp_path: Path) -> None:
    """An operator sees the file that is in force, by option or by the settings' file."""
    path = tmp_path / "mine.toml"
    path.write_text(DEFAULTS.replace("max_retries = 3", "max_retries = 7"))
    assert "at most 7 retries" in printed("check", "--lifecycles", path)
    config = tmp_path / "worker.toml"
    config.write_text('lifecycles = "mine.toml"')
    assert "at most 7 retries" in printed("check", "--config", config)


def test_check_is_good_as_a_process(tmp_path: Path) -> None:
    """From any folder, with nothing installed but the package, the exit code is 0."""
    result = status_tracker("check", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "settings and lifecycles are good" in result.stdout


BAD = {
    "step to an unknown phase": (
        "lifecycles.toml",
        DEFAULTS.replace('"running"', '"runing"'),
        "lifecycles.toml: task.transitions.waiting: 'runing'",
    ),
    "no TOML": ("lifecycles.toml", "[task", "lifecycles.toml: "),
    "a setting misspelt": ("worker.toml", "partition = 3", "did you mean partitions?"),
    "a bad value": ("worker.toml", 'clock_skew = "1 day"', "worker.toml: clock_skew: '1 day'"),
    "an endless duration": ("worker.toml", f'clock_skew = "{"9" * 400}h"', "clock_skew"),
    "a bad URL": ("worker.toml", 'redis_url = "redis://:hun/ter2@h"', "redis_url: "),
    "no lifecycles": ("worker.toml", 'lifecycles = "gone.toml"', "gone.toml: cannot be read"),
    "a path that none can be": ("worker.toml", 'lifecycles = "a\\u0000"', "lifecycles"),
}


@pytest.mark.parametrize(("name", "content", "says"), BAD.values(), ids=BAD)
def test_what_cannot_work_ends_in_78(tmp_path: Path, name: str, content: str, says: str) -> None:
    """A script can tell a bad configuration, and a person reads one line and no traceback."""
    (tmp_path / name).write_text(content)
    option = "--config" if name == "worker.toml" else "--lifecycles"
    result = status_tracker("check", option, tmp_path / name)
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert "ter2" not in result.stderr
    assert result.stderr.startswith("status-tracker: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert result.returncode == EXIT_CONFIG


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "--bogus"], "No such option"),
        (["bogus"], "No such command"),
        (["check", "more"], "unexpected extra argument"),
        (["run", "--embedded", "--redis-url", "redis://h"], "give one of them"),
        (["demo", "--seconds", "0"], "--seconds"),
    ],
)
def test_a_wrong_command_line_ends_in_2(arguments: list[str], says: str) -> None:
    """What was typed wrong is named, with the way to the help."""
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == EXIT_USAGE
    assert says in result.stderr
    assert "--help" in result.stderr


def test_a_wrong_command_line_ends_in_2_as_a_process() -> None:
    """The process's exit code is click's."""
    result = status_tracker("check", "--bogus")
    assert result.returncode == EXIT_USAGE
    assert "Traceback" not in result.stderr


def test_version() -> None:
    """The version is that of the installed package."""
    assert printed("--version").strip().endswith(f"version {version('status-tracker')}")


@pytest.mark.parametrize("command", [[], *([name] for name in cli.commands)], ids=str)
def test_help(command: list[str]) -> None:
    """Every command explains itself, its options and the exit codes."""
    output = printed(*command, "--help")
    assert output.startswith("Usage: ")
    assert "Exit codes: 0 all is well; " in output
    assert output == printed(*command, "-h")


@pytest.mark.parametrize("name", cli.commands)
def test_every_option_is_explained(name: str) -> None:
    """No option stands in the help without a word about it."""
    for option in cli.commands[name].params:
        assert isinstance(option, click.Option)
        assert option.help
