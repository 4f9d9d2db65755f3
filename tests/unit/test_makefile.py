"""`make` says what it needs, before it does anything."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def oldest_python() -> str:
    """Return the oldest Python that the package may be installed with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["requires-python"]).removeprefix(">=")


@make
@pytest.mark.parametrize("says", ["Python 3.10.12", "Python 2.7.18"])
def test_an_old_python_is_refused_in_one_line(tmp_path: Path, says: str) -> None:
    """Pip would end in ResolutionImpossible, which names many packages and not the reason."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\necho {says}\n")
    python.chmod(0o755)
    ran = subprocess.run(
        ["make", "run"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stdout == ""
    [line] = ran.stderr.splitlines()
    assert f"Python {oldest_python()} or later is needed, but python3 is: {says}" in line
    assert "make run PYTHON=python3.12" in line
    assert not (tmp_path / ".venv").exists()
