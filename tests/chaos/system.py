"""A system to do harm to: one or more servers, and workers that share their work."""

import signal
from contextlib import ExitStack
from itertools import count, cycle
from pathlib import Path
from typing import NamedTuple, Self

from status_tracker.keys import Keys

from tests.acceptance.tracker import Tracker
from tests.chaos.sites import PARTITIONS, Layout, site
from tests.chaos.upkeep import write_rules
from tests.servers import Redis, Server


class FindingError(Exception):
    """Something that must not happen, whatever is done to a system."""


class Pace(NamedTuple):
    """How soon a fleet notices that a worker is gone."""

    ttl: int
    """Milliseconds that a lease lasts."""
    heartbeat: int
    """Milliseconds."""


class Worker(Tracker):
    """One process of the fleet, which may be stopped for a while."""

    def __init__(self, name: str, folder: Path, keys: Keys, url: str, pace: Pace) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(
            folder,
            STATUS_NAME=name,
            STATUS_REDIS_URL=url,
            STATUS_LAYOUT=keys.layout,
            STATUS_LEASE_TTL=f"{pace.ttl}ms",
            STATUS_HEARTBEAT=f"{pace.heartbeat}ms",
            # Nothing may be trimmed that is to be compared.
            STATUS_MAX_CHANGES="10000000",
            STATUS_MAX_REJECTED="10000000",
            STATUS_RULES=str(write_rules(folder)),
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
    """Servers on loopback, workers that share their work, and the ways between."""

    def __init__(
        self, binary: Path, folder: Path, *, workers: int, pace: Pace, layout: Layout = "single"
    ) -> None:
        self.layout = layout
        self.site = site(layout, binary, folder, workers=workers)
        self.keys = self.site.keys
        self.pace = pace
        self.workers: list[Worker] = []
        self._folders = [folder / f"worker-{number}" for number in range(workers)]
        self._births = count(1)
        self._turns = cycle(range(PARTITIONS))
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        with self._ending:
            self._ending.enter_context(self.site)
            for number in range(len(self._folders)):
                self.workers.append(self._worker(number))
            self._ending = self._ending.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def _worker(self, number: int) -> Worker:
        folder = self._folders[number]
        # A new name each time: one that comes back under its old name owns its leases already.
        name = f"{folder.name}.{next(self._births)}"
        worker = Worker(name, folder, self.keys, self.site.url(number), self.pace)
        self._ending.callback(worker.kill)
        return worker

    def replace(self, number: int) -> None:
        """Start a new worker where one has ended."""
        self.workers[number] = self._worker(number)

    def client(self) -> Redis:
        """Return a client that goes through no proxy."""
        return self.site.client()

    def in_turn(self) -> int:
        """Return the number of a partition: that after the last one."""
        return next(self._turns)

    def victim(self) -> Server:
        """Return the server of the next partition, if there are several."""
        return self.site.server_of(self.in_turn())

    @property
    def swallowed(self) -> int:
        """How many replies were lost on their way."""
        return sum(way.swallowed for way in self.site.ways)

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
