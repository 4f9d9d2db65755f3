"""A system to do harm to: a server, workers that share its work, and the ways between."""

import signal
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import NamedTuple, Self

from status_tracker.keys import Keys

from tests.acceptance.tracker import Tracker
from tests.proxy import Proxy
from tests.servers import Redis, Server

KEYS = Keys("status", "single")
PARTITIONS = 4


class FindingError(Exception):
    """Something that must not happen, whatever is done to a system."""


class Pace(NamedTuple):
    """How soon a fleet notices that a worker is gone."""

    ttl: int
    """Milliseconds that a lease lasts."""
    heartbeat: int
    """Milliseconds."""


COMMIT = f"\r\n{KEYS.partition(0).changes}\r\n".encode()
"""What a commit has on the wire, whether its script is sent by hash or whole, and nothing else."""


class Way(Proxy):
    """The way between one worker and the server."""

    def __init__(self, behind: Server) -> None:
        super().__init__(behind)
        self._freezes = False

    @property
    def frozen(self) -> bool:
        """Whether nothing gets through."""
        return not self.flows.is_set()

    def freeze_at_commit(self) -> None:
        """Freeze as soon as a commit comes, with the commit on the way."""
        self._freezes = True

    def take_wanted(self, said: bytes, new: int) -> bytes:
        """Look at what is about to be passed on to the server, and hold it back."""
        if self._freezes and COMMIT in said[-new - len(COMMIT) :]:
            self._freezes = False
            self.freeze()
            self.flows.wait()
        return super().take_wanted(said, new)


class Worker(Tracker):
    """One process of the fleet, which may be stopped for a while."""

    def __init__(self, name: str, folder: Path, url: str, pace: Pace) -> None:
        super().__init__(
            folder,
            STATUS_NAME=name,
            STATUS_REDIS_URL=url,
            STATUS_LEASE_TTL=f"{pace.ttl}ms",
            STATUS_HEARTBEAT=f"{pace.heartbeat}ms",
            # Nothing may be trimmed that is to be compared.
            STATUS_MAX_CHANGES="10000000",
            STATUS_MAX_REJECTED="10000000",
        )
        self.name = name

    def freeze(self) -> None:
        """Let it do nothing, not even notice the time that passes."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was."""
        self._process.send_signal(signal.SIGCONT)

    def expect_running(self) -> None:
        """Raise where it ended by itself."""
        code = self._process.poll()
        if code is not None:
            raise FindingError(f"{self.name} ended by itself, with {code}:\n{self.log[-2000:]}")


class System:
    """A server on loopback and so many workers, each of which has its own way to it."""

    def __init__(self, binary: Path, folder: Path, *, workers: int, pace: Pace) -> None:
        # With `everysec` a write waits for the last one's fsync, and replies do not wait for the
        # write: a kill loses what was answered. With `no` it is the kernel's before the reply.
        self.server = Server(
            binary, folder / "server", "--appendonly", "yes", "--appendfsync", "no"
        )
        self.pace = pace
        self.ways: list[Way] = []
        self.workers: list[Worker] = []
        self._folders = [folder / f"worker-{number}" for number in range(workers)]
        self._births = count(1)
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        with self._ending:
            # A server in the middle of a fault may not hear of a SIGTERM.
            self._ending.callback(self.server.stop, signal.SIGKILL)
            self.server.start()
            for number in range(len(self._folders)):
                self.ways.append(self._ending.enter_context(Way(self.server)))
                self.workers.append(self._worker(number))
            self._ending = self._ending.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def _worker(self, number: int) -> Worker:
        folder = self._folders[number]
        # A new name each time: one that comes back under its old name owns its leases already.
        name = f"{folder.name}.{next(self._births)}"
        worker = Worker(name, folder, self.ways[number].url, self.pace)
        self._ending.callback(worker.kill)
        return worker

    def replace(self, number: int) -> None:
        """Start a new worker where one has ended."""
        self.workers[number] = self._worker(number)

    def client(self) -> Redis:
        """Return a client that goes through no proxy."""
        return self.server.client()

    @property
    def swallowed(self) -> int:
        """How many replies were lost on their way."""
        return sum(way.swallowed for way in self.ways)

    @property
    def log(self) -> str:
        """What all workers said, also those that have ended."""
        return "".join((folder / "tracker.log").read_text() for folder in self._folders)

    def stop_workers(self) -> None:
        """Stop all workers; raise where one did not end well, now or before."""
        for worker in self.workers:
            worker.expect_running()
        for worker in self.workers:
            code = worker.stop()
            if code:
                raise FindingError(f"{worker.name} ended with {code}:\n{worker.log[-2000:]}")
        if "Traceback" in self.log:
            where = self.log.index("Traceback")
            raise FindingError(f"a worker's log has a traceback:\n{self.log[where:][:2000]}")
