"""How the timings come from the samples."""

import pytest

from tests.chaos.sampler import Sample
from tests.chaos.system import Pace
from tests.chaos.timings import Absence, Timing, pauses, rebalances, takeover


def at(
    time: float, owners: str, *, workers: str = "ab", cursor: str = "1-0", unread: bool = False
) -> Sample:
    """Return a sample: owners are letters, a free partition is a dash; 3 has cursor and unread."""
    return Sample(
        time,
        frozenset(workers),
        tuple(None if owner == "-" else owner for owner in owners),
        ("0-1", "0-1", "0-1", cursor),
        (False, False, False, unread),
    )


@pytest.mark.parametrize(
    ("owners", "workers", "balanced"),
    [
        ("aabb", "ab", True),
        ("abbb", "ab", False),
        ("aaab", "ab", False),
        ("aab-", "ab", False),
        ("aabb", "abc", False),
        ("aabc", "abc", True),
        ("aabc", "ab", False),
        ("----", "", False),
    ],
)
def test_balanced(owners: str, workers: str, balanced: bool) -> None:
    """Every partition has an owner that is there, and shares differ by one at most."""
    assert at(0, owners, workers=workers).balanced == balanced


def test_a_takeover_ends_when_others_own_everything() -> None:
    """A free partition is owned by nobody, and one of two is not all."""
    samples = [at(1, "aabb"), at(2, "aabb"), at(3, "a-bb"), at(4, "-bbb"), at(5, "bbbb")]
    assert takeover(samples, Absence("worker killed", "a", 1.5, 6)) == 3.5
    with pytest.raises(AssertionError, match="nobody took over from a"):
        takeover(samples[:-1], Absence("worker killed", "a", 1.5, 6))


def test_a_rebalance_begins_before_the_change_was_seen() -> None:
    """It is never said to be shorter than it was."""
    samples = [at(1, "aabb"), at(2, "aabb", workers="a"), at(3, "aa--", workers="a")]
    samples += [
        at(4, "aaaa", workers="a"),
        at(5, "aaaa", workers="a"),
        at(6, "aaaa"),
        at(7, "aaba"),
    ]
    samples += [at(8, "aabb"), at(9, "aabb")]
    assert list(rebalances(samples)) == [3, 3]


def test_a_pause_is_a_cursor_that_stands_although_there_is_something_to_read() -> None:
    """Only of partitions that kept their owner; from before it was seen until it moved."""
    samples = [at(1, "abbb"), at(2, "abbb", unread=True), at(3, "abbb", unread=True)]
    samples += [at(5, "bbbb", cursor="2-0", unread=True), at(6, "bbbb", cursor="3-0")]
    assert list(pauses(samples)) == [0, 0, 3]


def test_a_target_is_held_each_time_or_not() -> None:
    """Without a measurement nothing is held; without a target everything is."""
    pace = Pace(ttl=2_000, heartbeat=200)
    assert Timing("take-over", pace, 1.0, [0.5, 1.0]).held
    assert not Timing("take-over", pace, 1.0, [0.5, 1.1]).held
    assert not Timing("take-over", pace, 1.0, []).held
    assert Timing("pause", pace, None, [9.0]).held
