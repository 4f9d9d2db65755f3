"""The servers and processes that are measured, and in which order."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import redis
from msgspec import Struct
from status_tracker.embedded import end

from tests.bench.workload import PREFIX
from tests.servers import Server, binaries

T = TypeVar("T")

EMBEDDED = "valkey"
"""The kind that users get with `--embedded`; it is started with the same options."""

OPTIONS = {
    "appendonly": "yes",
    # A server that tidies up takes a core from whichever loop comes next: restoring a backlog would
    # set off that the append-only file is rewritten, in a process of its own, and what was emptied
    # would be freed by a thread.
    "auto-aof-rewrite-percentage": "0",
    "lazyfree-lazy-user-flush": "no",
    "lazyfree-lazy-user-del": "no",
}

ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).with_name("status-tracker"))

PROC = Path("/proc")
MEASURABLE = (PROC / "self" / "status").exists()
"""Whether the system tells of other processes' memory; only Linux does so in files."""

GIVEN_UP_AFTER = 120.0
"""Seconds. The slowest takes ten."""


class Plan(Struct, frozen=True):
    """How many rounds there are, and which part of the full size is measured."""

    rounds: int = 5
    scale: float = 1.0
    peers: bool = True
    """Whether those are compared, too, that have to be installed for it."""

    def sized(self, full: int) -> int:
        """Return the size to measure at, of the one that counts."""
        return max(1, round(full * self.scale))


def interleaved(
    plan: Plan, contenders: Mapping[str, Callable[[], T]], spell: Callable[[T], str]
) -> dict[str, list[T]]:
    """Measure every contender once per round; return what each came to, round by round.

    Every other round goes backwards, so that nobody always comes after the same one. `spell` says
    what came out, for who waits.
    """
    measured: dict[str, list[T]] = {name: [] for name in contenders}
    for number in range(1, plan.rounds + 1):
        order = list(contenders) if number % 2 else list(contenders)[::-1]
        for name in order:
            measured[name].append(contenders[name]())
        said = (f"{name} {spell(found[-1])}" for name, found in measured.items())
        say(f"round {number}: " + ", ".join(said))
    return measured


def say(line: str) -> None:
    """Tell how far it is."""
    print(f"  {line}", flush=True)


@contextmanager
def serve(kind: str) -> Iterator[str]:
    """Run a server with an append-only file, and yield its URL."""
    options = [text for name, value in OPTIONS.items() for text in (f"--{name}", value)]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Server(binaries()[kind], Path(folder), *options) as server,
    ):
        yield server.url


def connect(url: str) -> redis.Redis:
    """Return redis-py's fastest client: the blocking one, with the older protocol."""
    return redis.Redis.from_url(url, protocol=2)


def version(url: str) -> str:
    """Return a server's name and version."""
    with connect(url) as client:
        info = client.info("server")
    number = info.get("valkey_version") or info["redis_version"]
    return f"{info.get('server_name', 'redis')} {number}".capitalize()


def server_cpu(client: redis.Redis) -> float:
    """Return the seconds of CPU that a server has used, in all of its threads."""
    info: Any = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def worker(url: str, partitions: int, *, linger: str = "") -> list[str]:
    """Return the command that runs a worker; with another linger than the default, where given."""
    options = ["--prefix", PREFIX, "--partitions", str(partitions)]
    setting = ["env", f"STATUS_LINGER={linger}"] if linger else []
    return [*setting, COMMAND, "run", "--redis-url", url, "--log-level", "error", *options]


def interruptible() -> None:
    """Let SIGTERM be what Ctrl-C is, a KeyboardInterrupt, so that all that was started is ended."""
    logging.getLogger("status_tracker").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def environment() -> dict[str, str]:
    """Return what a process gets, be it of the peers' environment.

    Settings of the user's own tracker must not reach ours.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith("STATUS_")}
    return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'worker'}"}


@contextmanager
def running(command: Sequence[str]) -> Iterator[int]:
    """Run a process, and yield its id; it is ended in any case."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # Ctrl-C is for the benchmark alone, which then ends what it started.
            start_new_session=True,
        )
        try:
            yield process.pid
        finally:
            end(process)


def figures_of(command: Sequence[str]) -> dict[str, float]:
    """Run a process to its end, and return what its last line says, as JSON.

    Raises `SystemExit` where it fails.
    """
    try:
        done = subprocess.run(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=GIVEN_UP_AFTER,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SystemExit(str(error)) from None
    *_, last = ["", *done.stdout.decode(errors="replace").splitlines()]
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {last}")
    return msgspec.json.decode(last, type=dict[str, float])


def memory(process: int, field: str) -> float:
    """Return a figure of a process's memory in MB: `VmRSS` now, `VmHWM` at its most."""
    lines = (PROC / str(process) / "status").read_text().splitlines()
    [found] = (line for line in lines if line.startswith(f"{field}:"))
    return int(found.split()[1]) * 1024 / 1e6


def await_that(
    condition: Callable[[], bool], what: str, *, within: float = 30.0, every: float = 0.02
) -> None:
    """Wait for something, looking seldom enough to take no CPU from those who do it."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {within:.0f} s in vain: {what}")
        time.sleep(every)
