"""The real command, and others, as processes; and what the system says of them."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import redis
from status_tracker.embedded import end

from tests.bench.tracker import KEYS
from tests.bench.workload import PREFIX, Workload

COMMAND = str(Path(sys.executable).with_name("status-tracker"))

PROC = Path("/proc")
MEASURABLE = (PROC / "self" / "stat").exists()
"""Whether the system tells of other processes' CPU time and memory; only Linux does so in files."""

GIVEN_UP_AFTER = 120.0
"""Seconds. The slowest takes ten."""


def worker(url: str, workload: Workload) -> list[str]:
    """Return the command that runs a worker."""
    options = ["--prefix", PREFIX, "--partitions", str(workload.partitions)]
    return [COMMAND, "run", "--redis-url", url, "--log-level", "error", *options]


def interruptible() -> None:
    """Let SIGTERM be what Ctrl-C is, a KeyboardInterrupt, so that all that was started is ended."""
    # The worker in this process would tell of servers that end with us; checks find wrong work.
    logging.getLogger("status_tracker").setLevel(logging.ERROR)
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))

    def again(ignored: "sys.UnraisableHookArgs") -> None:
        # Python drops an interrupt that comes while it clears up an object; so it comes once more.
        if ignored.exc_type is KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            sys.__unraisablehook__(ignored)

    sys.unraisablehook = again


@contextmanager
def running(command: Sequence[str], times: int = 1) -> Iterator[list[int]]:
    """Run processes, and yield their ids; they are ended in any case."""
    # Settings of the user's own tracker must not reach the one that is measured.
    environment = {name: text for name, text in os.environ.items() if name[:7] != "STATUS_"}
    with ExitStack() as ending, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ids = []
        for _ in range(times):
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Ctrl-C is for the benchmark alone, which then ends what it started.
                start_new_session=True,
            )
            ending.callback(end, process)
            ids.append(process.pid)
        yield ids


def figures_of(command: Sequence[str]) -> dict[str, float]:
    """Run a process to its end, and return what its last line says, as JSON.

    Raises `SystemExit` where it fails.
    """
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


def cpu_seconds(process: int) -> float:
    """Return the CPU time that a process has used, in user space and for it in the kernel."""
    # The name stands in parentheses and may hold anything.
    fields = (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: int, field: str) -> float:
    """Return a figure of a process's memory in MB: `VmRSS` now, `VmHWM` at its most."""
    lines = (PROC / str(process) / "status").read_text().splitlines()
    [found] = (line for line in lines if line.startswith(f"{field}:"))
    return int(found.split()[1]) * 1024 / 1e6


def settled(client: redis.Redis, workload: Workload, workers: int) -> bool:
    """Tell whether so many workers share the partitions evenly, and wait for entries."""
    numbers = range(workload.partitions)
    owners = Counter(client.get(KEYS.lease(number)) for number in numbers)
    if None in owners or len(owners) != workers:
        return False
    if max(owners.values()) - min(owners.values()) > 1:
        return False
    return all(client.exists(KEYS.partition(number).partition) for number in numbers)


def await_that(condition: Callable[[], bool], what: str, within: float = 30.0) -> None:
    """Wait for something, looking seldom enough to take no CPU from those who do it."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {within:.0f} s in vain: {what}")
        time.sleep(0.02)
