"""When a deployment is well, and what is said when it is not."""

import msgspec
import pytest
from status_tracker.monitoring.fleet import (
    FleetState,
    PartitionState,
    RejectedState,
    Totals,
    WorkerState,
)
from status_tracker.monitoring.health import MaxLag, problems_of, report

LEASE_TTL = 10
WAY_OUT = "start that worker again, or delete its lease"


def view(
    number: int = 0,
    owner: str | None = "one",
    *,
    lag: int | None = 0,
    lag_seconds: float = 0,
    lease_left: float | None = 5,
    cursor: str | None = "1-0",
) -> PartitionState:
    """Return a partition that is well but for what is given."""
    return PartitionState(number, owner, cursor, lag, lag_seconds, lease_left)


def problems(
    max_lag: str | None, *views: PartitionState, heartbeat_age: float = 0.3, dropped: int = 0
) -> list[str]:
    """Return what is wrong with these partitions; worker one was heard of so many seconds ago."""
    limit = None if max_lag is None else MaxLag.parse(max_lag)
    worker = WorkerState("one", heartbeat_age, [])
    fleet = FleetState(list(views), [worker], RejectedState(dropped, dropped), 1)
    found = report(fleet, problems_of(fleet, limit, lease_ttl=LEASE_TTL))
    assert found.healthy is not bool(found.problems)
    return found.problems


@pytest.mark.parametrize(
    ("text", "entries", "seconds"),
    [
        ("0", 0, None),
        ("1000", 1000, None),
        ("30s", None, 30),
        ("250ms", None, 0.25),
        ("1.5m", None, 90),
        ("0s", None, 0),
    ],
)
def test_max_lag_is_entries_or_a_duration(
    text: str, entries: int | None, seconds: float | None
) -> None:
    """A bare number counts entries; durations are written as in the settings."""
    limit = MaxLag.parse(text)
    assert (limit.entries, limit.seconds) == (entries, seconds)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "30 parsecs", "ten", "1000 entries", "9" * 20])
def test_another_max_lag_is_refused(text: str) -> None:
    """A slip is not taken for a limit that never trips; both forms are named."""
    with pytest.raises(ValueError, match=r'"250ms", .* or a number of entries: "1000"'):
        MaxLag.parse(text)


def test_without_a_limit_only_owners_matter() -> None:
    """A lag that nobody limited is no problem; each partition without an owner is one."""
    assert problems(None, view(lag=10**9, lag_seconds=10**9), view(lag=None)) == []
    assert problems(None, view(0), view(1, owner=None), view(2, owner=None)) == [
        "partition 1 has no owner",
        "partition 2 has no owner",
    ]


def test_a_lag_in_entries() -> None:
    """The limit itself is well; more is not, and the line says how much it is."""
    assert problems("1000", view(lag=1000, lag_seconds=10**6)) == []
    assert problems("1000", view(1, lag=5000)) == [
        "partition 1 lags by 5,000 entries, over --max-lag 1000"
    ]
    assert problems("0", view(lag=1)) == ["partition 0 lags by 1 entry, over --max-lag 0"]


def test_a_lag_in_seconds() -> None:
    """A duration looks at how long entries wait, however many they are."""
    assert problems("30s", view(lag=10**6, lag_seconds=30), view(lag=None)) == []
    assert problems("30s", view(2, lag_seconds=3600.04)) == [
        "partition 2 lags by 3,600.0 s, over --max-lag 30s"
    ]


def test_an_unknown_lag_counts_as_over() -> None:
    """A health check must not pass because the server cannot count; the line says why."""
    assert problems("1000", view(3, lag=None)) == [
        "partition 3 lags by an unknown number of entries, which counts as over --max-lag 1000"
    ]


def test_a_partition_can_have_two_problems() -> None:
    """One does not hide the other."""
    assert len(problems("10", view(owner=None, lag=11))) == 2


def test_an_owner_that_is_no_worker() -> None:
    """A lease that nobody will renew or give back keeps its partition from being read."""
    assert problems(None, view(1, owner="ghost", lease_left=3590)) == [
        f"partition 1 is held for 3,590 s more by ghost, which is no live worker: {WAY_OUT}"
    ]


def test_an_owner_that_was_not_heard_of_for_too_long() -> None:
    """Where nobody is left who would take it off the list, its last heartbeat is looked at."""
    assert problems(None, view(1, lease_left=3590), heartbeat_age=10) == []
    assert problems(None, view(1, lease_left=3590), heartbeat_age=11) == [
        f"partition 1 is held for 3,590 s more by one, which was last heard of 11 s ago: {WAY_OUT}"
    ]


@pytest.mark.parametrize("lease_left", [0.0, 0.4, 3.3])
def test_a_lease_that_runs_out_with_its_owner(lease_left: float) -> None:
    """A killed worker's lease may end a heartbeat later than the worker: that is no alarm."""
    assert problems(None, view(owner="gone", lease_left=lease_left)) == []
    assert problems(None, view(lease_left=lease_left), heartbeat_age=10.1) == []


def test_a_lease_without_an_end() -> None:
    """It is one problem, whether its owner lives or not."""
    for owner in ("one", "ghost"):
        assert problems(None, view(owner=owner, lease_left=None)) == [
            f"partition 0 stays with {owner} for ever: its lease does not run out; delete it"
        ]


@pytest.mark.parametrize("cursor", ["", "7", "7-", r"\xff", "7-0\n"])
def test_a_cursor_that_is_none(cursor: str) -> None:
    """A partition that waits for somebody to mend its cursor is not well."""
    [problem] = problems(None, view(2, cursor=cursor))
    assert problem.startswith(f"partition 2 holds the cursor {cursor}, which is no entry ID: set")
    assert problems(None, view(cursor=None)) == []


def test_rejected_entries_are_no_problem() -> None:
    """What a producer does wrong must not call for whoever runs the workers."""
    assert problems("0", view(), dropped=10**6) == []


def test_entries_that_were_lost() -> None:
    """Nothing can be done about them any more, but about the next ones: no problem, but a note."""
    views = [view(0), view(1), view(2)]
    lost = [msgspec.structs.replace(views[n], totals=Totals(lost=n * 1_000 + 1)) for n in (0, 2)]
    found = report(FleetState([lost[0], views[1], lost[1]], [], RejectedState(0, 0), 1), [])
    way_out = "trim below the last-delivered ID of its group only"
    assert found.notes == [
        f"partition 0 has lost 1 entry, trimmed or deleted before it was read: {way_out}",
        f"partition 2 has lost 2,001 entries, trimmed or deleted before they were read: {way_out}",
    ]


def test_a_partition_that_goes_by_older_rules() -> None:
    """For some moments of every change that is right: no problem, but a note."""
    views = [msgspec.structs.replace(view(n), revision=n or None) for n in range(3)]
    found = report(FleetState(views, [], RejectedState(0, 0), 2), [])
    why = "its owner has not seen it yet, or cannot read it"
    assert found.notes == [f"partition 1 goes by revision 1 of the rules, and 2 is in force: {why}"]
