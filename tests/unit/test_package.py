"""The package as others see it, and the direction in which its rooms know each other."""

import ast
import os
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import pytest
import status_tracker

ROOT = "status_tracker"

ROOMS = [
    [
        "errors",
        "text",
        "logs",
        "units",
        "toml",
        "models",
        "keys",
        "lifecycle",
        "rules",
        "schema",
        "decode",
        "removal",
        "fold",
        "cancellation",
    ],
    ["connection"],
    ["lua"],
    ["metadata"],
    ["client"],
    ["engine"],
    ["maintenance"],
    ["monitoring"],
    ["settings", "signals", "embedded", "app"],
    ["testing"],
    ["dashboard"],
    ["demo"],
    ["cli"],
    ["__main__"],
]
"""From what knows least to what knows most, as ARCHITECTURE.md has it."""

LEVELS = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
SOURCE = Path(status_tracker.__file__).parent


def imports(path: Path) -> set[str]:
    """Return the rooms that a module imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name and name.startswith(f"{ROOT}.")}
    return found


MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_up(path: Path) -> None:
    """A room knows of those before it and of none that comes after it."""
    own = LEVELS[path.relative_to(SOURCE).parts[0].removesuffix(".py")]
    assert {room for room in imports(path) if LEVELS[room] > own} == set()


PUBLIC = [
    *("AssetUpdate", "AsyncEmitter", "AsyncStatusReader", "AsyncTaskReporter", "BacklogError"),
    *("Change", "ConfigError", "Emitter", "FeedEvent", "FeedGapError", "Found", "Page", "Rejected"),
    *("RejectedPage", "Rules", "Snapshot", "Stalled", "StalledPage", "Status", "StatusReader"),
    *("TaskReporter", "TaskUpdate", "UnavailableError", "Update", "UpdateError"),
]


def test_public_names() -> None:
    """What users import is chosen: nothing becomes public by being imported here."""
    assert status_tracker.__all__ == PUBLIC
    assert all(getattr(status_tracker, name).__name__ == name for name in PUBLIC)
    # Of a package with a plugin, pytest rewrites the assertions, with names that begin with "@".
    public = {name for name in vars(status_tracker) if not name.startswith(("_", "@"))}
    others = {"TYPE_CHECKING", "Any"}
    assert public - set(PUBLIC) - others <= set(LEVELS)  # submodules that were imported


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """As of any module: names are looked up when they are asked for."""
    with pytest.raises(AttributeError, match="has no attribute 'Emiter'"):
        _ = status_tracker.Emiter


def test_the_package_is_imported_quickly() -> None:
    """Whoever needs a name pays for it: `--help` and `except UpdateError` wait for no client."""
    look = (
        "import sys, status_tracker; print([m for m in ('redis', 'msgspec') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [[Path(sys.executable).with_name("status-tracker")], [sys.executable, "-m", ROOT]],
    ids=["script", "module"],
)
def test_a_module_called_worker_is_the_user_s_own(tmp_path: Path, command: list[str]) -> None:
    """The commonest name in users' projects must not be taken for ours."""
    (tmp_path / "worker.py").write_text("raise SystemExit('the user's module')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        [*command, "--version"], check=False, capture_output=True, text=True, env=environment
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "version" in ran.stdout


def test_one_package_is_installed() -> None:
    """Two distributions that install the same top-level name overwrite each other's files."""
    top = {path.parts[0] for path in files("status-tracker") or [] if path.suffix == ".py"}
    assert top <= {ROOT}
