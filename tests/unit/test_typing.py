"""Types as users' checkers see them: all of them are there, and mistakes are told."""

import os
import subprocess
import sys
from pathlib import Path

import status_tracker

PYRIGHT = Path(sys.executable).with_name("basedpyright")
PACKAGE = Path(status_tracker.__file__).parent


def test_every_public_name_has_its_type(tmp_path: Path) -> None:
    """Nothing is left to be inferred. What redis-py leaves open is not counted.

    `typed_client.py`, which mypy checks, says which types these are.
    """
    ran = subprocess.run(
        [PYRIGHT, "--verifytypes", "status_tracker", "--ignoreexternal"],
        cwd=tmp_path,
        # It asks the first `python` on PATH where packages are.
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "PATH": str(PYRIGHT.parent)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert "Type completeness score: 100%" in ran.stdout, ran.stdout + ran.stderr
