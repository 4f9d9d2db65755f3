"""The virtual environment of the peers, made from `requirements.txt` on first use.

`python -m tests.bench.peers.environment` makes it by hand.
"""

import subprocess
import sys
from pathlib import Path

# Beside the .venv/ of the tests.
FOLDER = Path(__file__).parents[3] / ".venv-peers"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


class NoPeersError(Exception):
    """The environment cannot be made here, most likely because there is no network."""


def peers_python() -> str:
    """Return the interpreter that has the peers installed; install them where they are not."""
    python = FOLDER / "bin" / "python"
    # What was installed last: an install that was broken off, or other versions, begin anew.
    installed = FOLDER / "installed.txt"
    wanted = REQUIREMENTS.read_text()
    if not (python.exists() and installed.exists() and installed.read_text() == wanted):
        print("installing the peers, once, in .venv-peers/", flush=True)
        _run(sys.executable, "-m", "venv", "--clear", str(FOLDER))
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        _run(*pip, "--requirement", str(REQUIREMENTS))
        installed.write_text(wanted)
    return str(python)


def pinned(name: str) -> str:
    """Return the version of a package that the environment has."""
    lines = REQUIREMENTS.read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)[name]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        # pip's last line says why; its first ones how often it tried.
        *_, why = ["no reason given", *(done.stderr or done.stdout).strip().splitlines()]
        raise NoPeersError(why)


if __name__ == "__main__":
    try:
        peers_python()
    except NoPeersError as error:
        sys.exit(f"the peers cannot be installed: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
