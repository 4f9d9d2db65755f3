"""What a worker counts of its work, beyond what the properties of the loop compare."""

from itertools import accumulate

from status_tracker.engine.tally import CLOCKS, Ended, Histogram, Tally, ended

from tests.events import NOW, id_in, update
from tests.unit.memory import Loop, entry


def test_entries_are_counted_by_their_kind() -> None:
    """An alert can say whose producer it is; what tells no kind is apart."""
    here, there = id_in(0, 2), id_in(1, 2)
    batch = Loop(partitions=2).run(
        entry(update(here, "pending")),
        entry(update(here, "pending")),
        entry(update(here, "completed")),
        entry(update(here, "waiting", kind="asset")),
        entry(update(there, "running")),
        entry(update("a b", "waiting", kind="asset")),
        entry(b"hello"),
    )
    assert ended([batch]) == {
        Ended("task", "applied"): 1,
        Ended("task", "duplicate"): 1,
        Ended("task", "rejected", "illegal_transition"): 1,
        Ended("asset", "applied"): 1,
        Ended("task", "forwarded"): 1,
        Ended("asset", "rejected", "invalid"): 1,
        Ended("", "rejected", "malformed"): 1,
    }


def test_a_few_entries_stand_for_all_of_a_read() -> None:
    """Of a thousand, each counts once, at about the time at which it came."""
    loop, tally = Loop(), Tally()
    updates = [entry(update(f"e{n}", "pending", NOW), f"{NOW + n}-0") for n in range(1000)]
    tally.committed([loop.run(*updates)])
    clocks = tally.clocks["task"]
    assert sum(clocks.counts) == sum(tally.latency.counts) == 1000
    behind = dict(zip([*CLOCKS, "more"], accumulate(clocks.counts), strict=True))
    # None is ahead, 100 of them are less than 0.1 s behind, and none is a whole second.
    assert behind[0] == behind["more"] == 1000
    # In steps of 250: the sample at 0 ms stands for those up to there.
    assert behind["more"] - behind[-0.1] == 250
    assert behind[-1] == 0


def test_a_bucket_has_what_is_at_most_its_bound() -> None:
    """As Prometheus wants it: the bound itself belongs to the bucket below it."""
    histogram = Histogram((1, 5))
    for value in (0.5, 1, 1.5, 5, 6):
        histogram.observe(value)
    histogram.observe(7, times=3)
    assert histogram.counts == [2, 2, 4]
    assert histogram.sum == 0.5 + 1 + 1.5 + 5 + 6 + 3 * 7
