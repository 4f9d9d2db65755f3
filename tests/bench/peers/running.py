"""Peers that run to their end, and what they say on their last line."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

import msgspec

GIVEN_UP_AFTER = 120.0
"""Seconds. The slowest takes ten."""


def figures_of(command: Sequence[str]) -> dict[str, float]:
    """Run a peer, and return its figures; raises `SystemExit` where it fails."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A group of its own, so that what a peer starts ends with it.
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=GIVEN_UP_AFTER)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"still at it after {GIVEN_UP_AFTER:.0f} s: {command}") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    *_, last = ["", *output.decode(errors="replace").splitlines()]
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {last}")
    return msgspec.json.decode(last, type=dict[str, float])
