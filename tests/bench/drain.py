"""How fast a backlog is drained: beside a loop that does nothing, and one written by hand."""

import gc
from collections.abc import Callable
from functools import partial

import redis
from msgspec import Struct

from tests.bench.figures import Report, medians, ratio
from tests.bench.handwritten import (
    drain_doing_nothing,
    drain_handwritten,
    drain_handwritten_mset,
)
from tests.bench.kinds import Kind, connect, version
from tests.bench.rounds import Plan, interleaved, per_second
from tests.bench.stored import store, under_way
from tests.bench.tracker import check, check_statuses, drain_tracker
from tests.bench.workload import Workload, restore

TRACKER = "status tracker"
NOTHING = "nothing"
BY_HAND = "handwritten"
BY_HAND_MSET = "handwritten, MSET"

Loop = Callable[[redis.Redis, Workload], float]


class Backlog(Struct):
    """A workload on a server, which each contender drains from the start."""

    url: str
    client: redis.Redis
    workload: Workload
    dumps: dict[str, bytes]

    @classmethod
    def on(cls, url: str, workload: Workload) -> "Backlog":
        """Make the backlog on a server; its database is emptied for each drain."""
        client = connect(url)
        return cls(url, client, workload, workload.load(client))

    def by_tracker(self) -> float:
        """Let the real worker drain it, and look whether it did."""
        self._reset()
        rate = drain_tracker(self.url, self.workload)
        check(self.client, self.workload)
        return rate

    def by_nobody(self) -> float:
        """Let the loop drain it that does nothing."""
        self._reset()
        return drain_doing_nothing(self.client, self.workload)

    def by_hand(self, loop: Loop) -> float:
        """Let a loop drain it that keeps statuses, and look whether it did."""
        self._reset()
        rate = loop(self.client, self.workload)
        check_statuses(self.client, self.workload)
        return rate

    def _reset(self) -> None:
        restore(self.client, self.dumps)
        if self.workload.begun:
            store(self.client, under_way(self.workload))
        # Garbage is nobody's but who made it.
        gc.collect()


def measure(kind: Kind, plan: Plan) -> Report:
    """Drain the workload by all contenders."""
    with kind.serve() as url:
        backlog = Backlog.on(url, Workload(plan.sized(400_000)))
        contenders = {NOTHING: backlog.by_nobody, TRACKER: backlog.by_tracker}
        if kind.append_only:
            contenders[BY_HAND] = partial(backlog.by_hand, drain_handwritten)
            contenders[BY_HAND_MSET] = partial(backlog.by_hand, drain_handwritten_mset)
        rates = interleaved(plan, contenders, per_second)
        report = Report(version(url), kind.append_only, rates=medians(rates))
    ours = rates[TRACKER]
    beside_nothing = "drain, beside a loop that does nothing"
    if not kind.append_only:
        report.figures = [ratio(beside_nothing, "drain", ours, rates[NOTHING])]
        return report
    report.figures = [
        ratio(beside_nothing, "drain", ours, rates[NOTHING], target=1.0),
        ratio("drain, beside one written by hand", "handwritten", ours, rates[BY_HAND], target=3.0),
        ratio("… which writes by MSET", "handwritten_mset", ours, rates[BY_HAND_MSET]),
    ]
    return report
