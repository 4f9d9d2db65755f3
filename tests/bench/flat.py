"""Whether the drain rate stays where the store, the tasks in flight or the partitions are many."""

from collections import Counter

from msgspec import Struct

from tests.bench.alone import TRACKER, drain_alone
from tests.bench.drain import Backlog
from tests.bench.figures import Report, medians, ratio
from tests.bench.kinds import Kind, version
from tests.bench.rounds import Plan, interleaved, per_second, say
from tests.bench.stored import gathered, store, take_back
from tests.bench.tracker import check
from tests.bench.workload import Workload

BASE = "4 partitions, 2,000 in flight"
NEW = "200,000 new in flight"
FEW_UNDER_WAY = "2,000 under way"
UNDER_WAY = "200,000 under way"
ONE = "1 partition"
MANY = "64 partitions"

STORED = "2,000,000 stored"
FEW_STORED = "20,000 stored"


def measure(kind: Kind, plan: Plan) -> Report:
    """Drain backlogs of several shapes, and on stores of two sizes."""
    with kind.serve() as url:
        report = Report(version(url), kind.append_only)
    shaped = _drain_shapes(kind, plan)
    stored = _drain_stored(kind, plan)
    report.rates = medians(shaped) | medians(stored)
    for name, key, rates, other, base, target in [
        (f"drain, {STORED}, beside 20,000", "stored", stored, STORED, FEW_STORED, 0.9),
        (f"drain, {UNDER_WAY}, beside 2,000", "in_flight", shaped, UNDER_WAY, FEW_UNDER_WAY, 0.9),
        (f"drain, {NEW}, beside 2,000", "in_flight_new", shaped, NEW, BASE, 0.9),
        (f"drain, {ONE}, beside 4", "one_partition", shaped, ONE, BASE, 0.8),
        (f"drain, {MANY}, beside 4", "many_partitions", shaped, MANY, BASE, 0.8),
    ]:
        report.figures.append(ratio(name, key, rates[other], rates[base], target=target))
    return report


def _drain_shapes(kind: Kind, plan: Plan) -> dict[str, list[float]]:
    """Drain what differs in the tasks in flight and in the partitions.

    Of new tasks in flight, the first updates of each are all that 400,000 updates are about, and
    every one of them changes a phase. So they are measured under way, too: the same mix of updates
    whether they are many or few, every status in the store and none in the worker's memory.
    """
    events, many = plan.sized(400_000), plan.sized(200_000)
    shapes = {
        BASE: Workload(events),
        NEW: Workload(events, many),
        FEW_UNDER_WAY: Workload(events, begun=True),
        UNDER_WAY: Workload(events, many, begun=True),
        ONE: Workload(events, partitions=1),
        MANY: Workload(events, partitions=64),
    }
    with kind.serve() as url:
        backlogs = {name: Backlog.on(url, workload) for name, workload in shapes.items()}
        contenders = {name: backlog.by_tracker for name, backlog in backlogs.items()}
        return interleaved(plan, contenders, per_second)


class Filled(Struct):
    """A backlog on a server that has other entities, too, which stay between the drains."""

    backlog: Backlog
    counts: Counter[str]

    @classmethod
    def on(cls, url: str, workload: Workload, entities: int) -> "Filled":
        """Fill a server."""
        backlog = Backlog.on(url, workload)
        say(f"storing {entities:,} entities")
        return cls(backlog, store(backlog.client, gathered(entities)))

    def drain(self) -> float:
        """Let the real worker drain the backlog, and look whether it did."""
        client, workload = self.backlog.client, self.backlog.workload
        take_back(client, workload, self.counts)
        for key, dump in self.backlog.dumps.items():
            client.restore(key, 0, dump)
        rate = drain_alone(TRACKER, self.backlog.url, workload).rate
        check(client, workload, self.counts)
        return rate


def _drain_stored(kind: Kind, plan: Plan) -> dict[str, list[float]]:
    """Drain the same backlog on two servers: a full one, and one that is nearly empty."""
    workload = Workload(plan.sized(400_000))
    with kind.serve() as full, kind.serve() as empty:
        servers = {
            STORED: Filled.on(full, workload, plan.sized(2_000_000)),
            FEW_STORED: Filled.on(empty, workload, plan.sized(20_000)),
        }
        return interleaved(plan, {name: each.drain for name, each in servers.items()}, per_second)
