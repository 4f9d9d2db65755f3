"""How fast a backlog is drained: beside a loop that does nothing, and one written by hand."""

from collections.abc import Callable
from functools import partial

import redis
from msgspec import Struct

from tests.bench.alone import BY_HAND, BY_HAND_MSET, NOTHING, TRACKER, drain_alone
from tests.bench.figures import Report, medians, ratio
from tests.bench.kinds import Kind, connect, version
from tests.bench.rounds import Plan, interleaved, per_second
from tests.bench.stored import store, under_way
from tests.bench.tracker import check, check_statuses
from tests.bench.workload import Workload, restore

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
        rate = drain_alone(TRACKER, self.url, self.workload).rate
        check(self.client, self.workload)
        return rate

    def by_nobody(self) -> float:
        """Let the loop drain it that does nothing."""
        self._reset()
        return drain_alone(NOTHING, self.url, self.workload).rate

    def by_loop(self, name: str) -> float:
        """Let one of our loops drain it that keep statuses, and look whether it did."""
        self._reset()
        rate = drain_alone(name, self.url, self.workload).rate
        check_statuses(self.client, self.workload)
        return rate

    def by_hand(self, loop: Loop) -> float:
        """Let somebody else's loop drain it, and look whether it did."""
        self._reset()
        rate = loop(self.client, self.workload)
        check_statuses(self.client, self.workload)
        return rate

    def _reset(self) -> None:
        restore(self.client, self.dumps)
        if self.workload.begun:
            store(self.client, under_way(self.workload))


def measure(kind: Kind, plan: Plan) -> Report:
    """Drain the workload by all contenders."""
    with kind.serve() as url:
        backlog = Backlog.on(url, Workload(plan.sized(400_000)))
        contenders = {NOTHING: backlog.by_nobody, TRACKER: backlog.by_tracker}
        if kind.append_only:
            for name in (BY_HAND, BY_HAND_MSET):
                contenders[name] = partial(backlog.by_loop, name)
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
