"""The systemd unit and the Containerfile, looked at by the tools for such files."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from status_tracker.settings import Settings

CONFIG = Path(__file__).parents[2] / "config"
UNIT = CONFIG / "status-tracker.service"
CONTAINERFILE = CONFIG / "Containerfile"
MANIFEST = CONFIG / "kubernetes/worker.yaml"

EXPOSURE = 12
"""Tenths, of 100: what is left is the network, which a worker needs."""

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not there"
)


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a tool."""
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=60
    )


@needs_systemd
def test_the_unit_is_hardened() -> None:
    """By systemd's own list of what a service could do."""
    result = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", UNIT)
    assert result.returncode == 0, result.stdout


@needs_systemd
def test_systemd_knows_each_line_of_the_unit(tmp_path: Path) -> None:
    """A name that it does not know it would only warn of. The command is one that is there."""
    copy = tmp_path / UNIT.name
    text = UNIT.read_text()
    copy.write_text(text.replace("/opt/status-tracker/bin/status-tracker", sys.executable))
    result = run("systemd-analyze", "verify", "--man=no", copy)
    assert UNIT.name not in result.stderr, result.stderr
    assert result.returncode == 0, result.stderr


def test_hadolint_has_nothing_against_the_containerfile() -> None:
    """It is in the wheel that `make` installs."""
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint is not there: its wheel is for Linux on x86-64")
    result = run(hadolint, CONTAINERFILE)
    assert (result.returncode, result.stdout) == (0, "")


def test_what_the_container_is_built_from_is_there() -> None:
    """No registry is asked here, so no test builds it: but each file that it copies is there."""
    text = CONTAINERFILE.read_text()
    for line in re.findall(r"^COPY (?!--from)(.*) \./?\S*$", text, re.MULTILINE):
        for name in line.split():
            assert (CONFIG.parent / name).exists(), name
    [user] = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert f"runAsUser: {user}" in MANIFEST.read_text()


@pytest.mark.parametrize("file", [UNIT, CONTAINERFILE, MANIFEST], ids=lambda file: file.name)
def test_each_variable_is_a_setting(file: Path) -> None:
    """A worker would only hint at one that is misspelled."""
    found = set(re.findall(r"STATUS_([A-Z_]+)\b", file.read_text()))
    assert found
    assert {name.lower() for name in found} <= set(Settings.__struct_fields__)
