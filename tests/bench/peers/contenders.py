"""Who is compared: what each keeps, and how its throughput and its latency are measured."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import redis
from msgspec import Struct

from tests.bench.alone import NAIVE, TRACKER
from tests.bench.drain import Backlog
from tests.bench.kinds import connect
from tests.bench.latency import FIRST, Times, publish_at
from tests.bench.peers.environment import pinned
from tests.bench.processes import await_that, figures_of, running, worker
from tests.bench.rounds import Plan
from tests.bench.tracker import status_key
from tests.bench.workload import Workload

HERE = Path(__file__).parent

RATE = 1_000
"""Updates per second while the latency is taken; every contender keeps up with that."""

MEASURED = 3.0
"""Seconds at that rate, in each round."""
SHORTEST = 0.5


class Contender(Struct, frozen=True, kw_only=True):
    """One way to keep statuses."""

    name: str
    version: str
    keeps: str
    """What a user gets, and what not."""
    drain: Callable[[], float]
    """Drains a backlog; returns events per second."""
    publish: Callable[[], Times] | None = None
    """Publishes updates as they come; returns how soon they show."""


class Compared:
    """The contenders on one server.

    The sizes of the backlogs give each a second or two of draining.
    """

    def __init__(self, url: str, plan: Plan) -> None:
        self._url = url
        self._plan = plan
        self._seconds = max(SHORTEST, MEASURED * plan.scale)

    def tracker(self) -> Contender:
        """Return the tracker: a worker with its default settings."""
        return Contender(
            name=TRACKER,
            version=version("status-tracker"),
            keeps="order, exactly-once effect, retries, index, counts, change feed, rejections",
            drain=self._backlog(400_000).by_tracker,
            publish=partial(self._publish, worker(self._url, Workload())),
        )

    def naive(self) -> Contender:
        """Return the loop that one writes first."""
        command = [sys.executable, "-m", "tests.bench.peers.naive_peer", self._url]
        return Contender(
            name=NAIVE,
            version=f"redis-py {redis.__version__}",
            keeps="the status; never applies what it had read when it crashed; no order with "
            "several consumers; a core is always busy, for it does not wait",
            drain=partial(self._backlog(20_000).by_loop, NAIVE),
            publish=partial(self._publish, command),
        )

    def faststream(self, python: str) -> Contender:
        """Return a FastStream service, run by the peers' interpreter."""
        # Isolated, so that nothing of this project or of the user's is imported there.
        script = [python, "-I", str(HERE / "faststream_peer.py")]

        def drain(_: redis.Redis, workload: Workload) -> float:
            return figures_of([*script, "drain", self._url, str(workload.events)])["rate"]

        return Contender(
            name="FastStream",
            version=pinned("faststream"),
            keeps="the status; what it had read when it crashed waits for another subscriber that "
            "claims it; no order with several consumers",
            drain=partial(self._backlog(100_000).by_hand, drain),
            publish=partial(self._publish, [*script, "serve", self._url]),
        )

    def celery(self, python: str) -> Contender:
        """Return the receiver of Celery's events; it publishes no key, so it measures itself."""
        script = [python, "-I", str(HERE / "celery_peer.py")]
        # All of them wait at the server, which cuts off a subscriber that is 32 MB behind.
        events = str(self._plan.sized(20_000))
        updates = str(round(RATE * self._seconds))

        def publish() -> Times:
            command = [*script, "latency", self._url, updates, str(RATE)]
            return Times(**figures_of(command))

        return Contender(
            name="Celery events",
            version=pinned("celery"),
            keeps="10,000 tasks, in memory only; publishes no key; loses events while nobody "
            "listens",
            drain=lambda: figures_of([*script, "drain", self._url, events])["rate"],
            publish=publish,
        )

    def celery_in_memory(self, python: str) -> Contender:
        """Return Celery's state alone."""
        script = [python, "-I", str(HERE / "celery_peer.py")]
        command = [*script, "memory", self._url, str(self._plan.sized(100_000))]
        return Contender(
            name="Celery, in memory",
            version=pinned("celery"),
            keeps="the same, at its best: the events are in memory already, without a server",
            drain=lambda: figures_of(command)["rate"],
        )

    def _backlog(self, events: int) -> Backlog:
        return Backlog.on(self._url, Workload(self._plan.sized(events)))

    def _publish(self, command: Sequence[str]) -> Times:
        """Let a process publish at the rate that all keep up with."""
        first = Workload(FIRST)
        with connect(self._url) as client:
            client.flushdb()
            with running(command):
                for partition, data in first.updates():
                    client.xadd(first.streams()[partition], {"data": data})
                keys = {status_key(task) for task, _ in first.moves()}
                await_that(lambda: client.exists(*keys) == len(keys), "the first updates to show")
                return publish_at(self._url, RATE, self._seconds)
