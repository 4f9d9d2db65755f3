"""The command as a shell sees it: what it prints, on which stream, and its exit code."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import IO

import click
import pytest
from click.testing import CliRunner
from status_tracker.cli import cli
from status_tracker.cli.lazy import LazyGroup
from status_tracker.settings import default_file

from tests.model import PHASES

EXIT_USAGE = 2
EXIT_OUTPUT = 74
EXIT_CONFIG = 78
EXIT_PIPE = 141

COMMAND = [sys.executable, "-m", "status_tracker"]
NO_TEXT = os.fsdecode(b"\xff")

DEFAULTS = default_file("rules.toml").read_text()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("STATUS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")


def status_tracker(
    *arguments: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
    )


def printing_to(output: IO[bytes], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the command as a process that prints into a file."""
    return subprocess.run(
        [*COMMAND, *arguments],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
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
    assert f"settings and rules are good ({default_file('rules.toml')})" in output


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
    assert "at most 7 retries" in printed("check", "--rules", path)
    config = tmp_path / "worker.toml"
    config.write_text('rules = "mine.toml"')
    assert "at most 7 retries" in printed("check", "--config", config)


def test_check_is_good_as_a_process(tmp_path: Path) -> None:
    """From any folder, with nothing installed but the package, the exit code is 0."""
    result = status_tracker("check", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "settings and rules are good" in result.stdout


BAD = {
    "step to an unknown phase": (
        "rules.toml",
        DEFAULTS.replace('waiting = ["running"', 'waiting = ["runing"'),
        "rules.toml: task.transitions.waiting: 'runing'",
    ),
    "no TOML": ("rules.toml", "[task", "rules.toml: "),
    "a setting misspelt": ("worker.toml", "partition = 3", "did you mean partitions?"),
    "a bad value": ("worker.toml", 'lease_ttl = "1 day"', "worker.toml: lease_ttl: '1 day'"),
    "an endless duration": ("worker.toml", f'lease_ttl = "{"9" * 400}h"', "lease_ttl"),
    "a bad URL": ("worker.toml", 'redis_url = "redis://:hun/ter2@h"', "redis_url: "),
    "no rules": ("worker.toml", 'rules = "gone.toml"', "gone.toml: cannot be read"),
    "a path that none can be": ("worker.toml", 'rules = "a\\u0000"', "rules"),
}


@pytest.mark.parametrize(("name", "content", "says"), BAD.values(), ids=BAD)
def test_what_cannot_work_ends_in_78(tmp_path: Path, name: str, content: str, says: str) -> None:
    """A script can tell a bad configuration, and a person reads one line and no traceback."""
    (tmp_path / name).write_text(content)
    option = "--config" if name == "worker.toml" else "--rules"
    result = status_tracker("check", option, tmp_path / name)
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert "ter2" not in result.stderr
    assert result.stderr.startswith("status-tracker: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert result.returncode == EXIT_CONFIG


@pytest.mark.parametrize("variable", ["STATUS_PREFIX", "STATUS_NAME", "STATUS_REDIS_URL"])
def test_bytes_that_are_no_text_end_in_78(variable: str) -> None:
    """A byte from the shell that is no text is a slip in a setting, not a bug."""
    result = status_tracker("check", environment={variable: NO_TEXT})
    assert (result.returncode, result.stdout) == (EXIT_CONFIG, "")
    assert result.stderr.startswith(f"status-tracker: {variable}: holds bytes that are no UTF-8")
    assert result.stderr.count("\n") == 1


def test_a_path_is_shown_without_what_a_terminal_obeys(tmp_path: Path) -> None:
    """A file may have any name; the lines that name it stay lines."""
    file = tmp_path / f"\x1b[2J\n{NO_TEXT}[bold].toml"
    shown = r"\x1b[2J\n\udcff[bold].toml"
    for option in ("--config", "--rules"):
        result = status_tracker("check", option, file)
        assert (result.returncode, result.stdout) == (EXIT_CONFIG, "")
        assert (
            result.stderr
            == f"status-tracker: {tmp_path}/{shown}: cannot be read: No such file or directory\n"
        )
    file.write_text(DEFAULTS)
    result = status_tracker("check", "--rules", file)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith(f"good ({tmp_path}/{shown})\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
@pytest.mark.parametrize("arguments", [["check"], ["check", "--mermaid"], ["--help"]], ids=str)
def test_output_that_cannot_be_written_ends_in_74(arguments: list[str]) -> None:
    """A script that keeps what is printed must not take half of it for all."""
    with Path("/dev/full").open("wb") as full:
        result = printing_to(full, arguments)
    line = "status-tracker: the output cannot be written: No space left on device\n"
    assert (result.returncode, result.stderr) == (EXIT_OUTPUT, line)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
@pytest.mark.parametrize(
    ("arguments", "code"), [(["check", "--config", "gone.toml"], EXIT_CONFIG), (["bogus"], 2)]
)
def test_an_error_that_cannot_be_told_keeps_its_exit_code(arguments: list[str], code: int) -> None:
    """Where nobody reads the line, a script still reads the code."""
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run([*COMMAND, *arguments], stderr=full, check=False, timeout=60)
    assert result.returncode == code


@pytest.mark.parametrize("arguments", [["check"], ["check", "--mermaid"], ["--help"]], ids=str)
def test_a_closed_pipe_ends_in_141(arguments: list[str]) -> None:
    """`… | head` ends it as it ends any other command: without a word, and never in 1."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        result = printing_to(closed, arguments)
    assert (result.returncode, result.stderr) == (EXIT_PIPE, "")


def test_a_terminal_of_another_encoding(tmp_path: Path) -> None:
    """What it has no characters for is written in those that it has."""
    file = tmp_path / "東京.toml"
    file.write_text(DEFAULTS)
    result = status_tracker("check", "--rules", file, environment={"PYTHONIOENCODING": "latin-1"})
    assert (result.returncode, result.stderr) == (0, "")
    assert r"/\u6771\u4eac.toml" in result.stdout


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


def commands(
    group: LazyGroup = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command, also those of groups, with what is typed for it."""
    yield path, group
    for name in group.summaries:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, LazyGroup):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help(path: tuple[str, ...]) -> None:
    """Every command explains itself, its options and the exit codes."""
    output = printed(*path, "--help")
    assert output.startswith("Usage: ")
    assert "Exit codes: 0 all is well; " in output
    assert output == printed(*path, "-h")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    """No option stands in the help without a word about it."""
    for option in COMMANDS[path].params:
        if isinstance(option, click.Option):
            assert option.help


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=" ".join)
def test_a_list_of_commands_says_what_their_help_says(path: tuple[str, ...]) -> None:
    """The summary, which is shown before the command is imported, is the start of its own help."""
    group = COMMANDS.get(path[:-1])
    assert isinstance(group, LazyGroup)
    said = group.summaries[path[-1]].removesuffix(".")
    assert (COMMANDS[path].help or "").startswith(said)


def test_help_imports_no_command() -> None:
    """`--help` and completion wait for nothing that a command needs."""
    look = (
        "import sys; from status_tracker.cli import cli; cli(['--help'], standalone_mode=False); "
        "sys.exit(str([m for m in ('redis', 'msgspec', 'rich', 'asyncio') if m in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", look], check=False, capture_output=True, text=True)
    assert "Commands:" in ran.stdout
    assert ran.stderr.strip() == "[]"


SHELLS = [shell for shell in ("bash", "zsh") if shutil.which(shell)]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_completion_script_loads(shell: str) -> None:
    """What the documentation has people put into their shell's start file is a script of it."""
    script = subprocess.run(
        [Path(sys.executable).with_name("status-tracker")],
        env={**os.environ, "_STATUS_TRACKER_COMPLETE": f"{shell}_source"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    begin = "autoload -Uz compinit; compinit -u; " if shell == "zsh" else ""
    end = "complete -p status-tracker" if shell == "bash" else "print $_comps[status-tracker]"
    ran = subprocess.run(
        [shell, "-c", f"{begin}{script}\n{end}"], check=True, capture_output=True, text=True
    )
    assert "_status_tracker_completion" in ran.stdout
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("status-tracker rej", ["rejected"]),
        ("status-tracker rejected ", ["list", "show", "replay", "purge"]),
        ("status-tracker wait --t", ["--timeout"]),
        ("status-tracker schema a", ["asyncapi"]),
    ],
)
def test_completion(words: str, wanted: list[str]) -> None:
    """Commands, options and choices are completed, of groups, too."""
    environment = {
        "_STATUS_TRACKER_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    ran = CliRunner().invoke(cli, [], prog_name="status-tracker", env=environment)
    assert [line.split(",")[1] for line in ran.output.split()] == wanted
