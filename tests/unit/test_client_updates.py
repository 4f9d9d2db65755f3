"""What a producer says, as it is checked before it leaves."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_tracker import AssetUpdate, TaskUpdate, UpdateError
from status_tracker.client.updates import Checker, Clock, fields_from, fields_of
from status_tracker.decode import Decoder
from status_tracker.fold import DUPLICATE, Fold
from status_tracker.keys import partition_of
from status_tracker.models import Rejection, Status, Update

from tests.line import RULES
from tests.unit.driving import DEPLOYMENT

CHECKER = Checker(DEPLOYMENT)
NOW = 1_700_000_000_000


def sent(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the document of what is sent."""
    document: dict[str, Any] = msgspec.json.decode(CHECKER.check(fields).data)
    return document


def test_an_update_has_what_was_said_and_nothing_else() -> None:
    """Absent fields stay absent, and the partition is the id's."""
    fields = fields_of("task", "a", "running", progress=0, error_message=None, restart=False)
    document = sent(fields)
    assert isinstance(document.pop("updatedAt"), float)
    assert document == {"kind": "task", "id": "a", "phase": "running", "progress": 0}
    assert CHECKER.check(fields).partition == partition_of("a", 4)


def test_structs_and_mappings_say_the_same() -> None:
    """Which form a producer likes best does not matter; the names may be the wire's."""
    struct = TaskUpdate(id="a", phase="failed", error_message="no disk", attempt=2, updated_at=NOW)
    ours = {"kind": "task", "id": "a", "phase": "failed", "error_message": "no disk", "attempt": 2}
    wire = {"kind": "task", "id": "a", "phase": "failed", "errorMessage": "no disk", "attempt": 2}
    expected = {**wire, "updatedAt": NOW}
    assert fields_from(struct) == expected
    assert fields_from({**ours, "updated_at": NOW}) == expected
    assert fields_from({**wire, "updatedAt": NOW}) == expected
    assert fields_from(AssetUpdate(id="v", phase="ready"))["updatedAt"] > NOW


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"phase": "encoding"}, "phase", "must be pending, waiting, running"),
        ({"kind": "video"}, "kind", "must be task or asset"),
        ({"id": "a b"}, "id", "without whitespace"),
        ({"id": ""}, "id", "1 to 256 characters"),
        ({"progress": 47}, "progress", "from 0 to 1"),
        ({"progress": float("nan")}, "progress", "from 0 to 1"),
        ({"attempt": 0}, "attempt", "whole number"),
        ({"updated_at": 1_700_000_000}, "updatedAt", "seconds are refused"),
        ({"kind": "asset", "phase": "failed", "restart": True}, "restart", "counts no retries"),
        ({"errorMessage": "x" * 70_000}, None, "max_event_bytes"),
        ({"errorMessage": "\udcff"}, None, "no UTF-8 text"),
        ({"errorMessage": {"a": object()}}, None, "object"),
        ({"mesage": "x"}, "mesage", "no such field"),
        ({"clock": 1}, "clock", "no such field"),
        ({"attempt": False}, "attempt", "attempt: false"),
    ],
)
def test_what_the_rules_refuse_is_named(
    fields: dict[str, Any], field: str | None, said: str
) -> None:
    """The error says which field, and what may be there, and nothing is sent."""
    with pytest.raises(UpdateError, match=said) as caught:
        CHECKER.check(fields_from({"kind": "task", "id": "a", "phase": "running", **fields}))
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_named() -> None:
    """A mapping without a phase is refused like any other mistake."""
    with pytest.raises(UpdateError, match="phase: missing"):
        fields_from({"kind": "task", "id": "a"})


@given(st.lists(st.integers(-10_000_000, 5_000_000)))
def test_the_time_grows(steps: list[int]) -> None:
    """However the system's clock stands still or is set back a little."""
    now = NOW * 1_000_000
    times = iter([now := now + step for step in steps])
    clock = Clock(lambda: next(times))
    said = [clock() for _ in steps]
    assert said == sorted(set(said))


def test_a_clock_that_was_far_ahead_is_left() -> None:
    """Or all updates of the process would be rejected as of the future."""
    times = iter([(NOW + 3_600_000) * 1_000_000, NOW * 1_000_000])
    clock = Clock(lambda: next(times))
    assert clock() == NOW + 3_600_000
    assert clock() == NOW


def steps_of(phases: list[str], clock: Callable[[], float]) -> list[Update]:
    """Return updates of a task through phases."""
    decoder = Decoder(RULES)
    updates = []
    for phase in phases:
        fields = fields_of("task", "a", phase, updated_at=clock())
        update = decoder.decode(CHECKER.check(fields).data)
        assert isinstance(update, Update)
        updates.append(update)
    return updates


LIFE = ["pending", "waiting", "running", "failed", "waiting", "running", "completed"]


def test_a_repeat_has_no_effect() -> None:
    """Whichever update is sent again after a lost connection, at once after it was applied."""
    clock, fold = Clock(lambda: NOW * 1_000_000), Fold("task", RULES)
    status: Status | None = None
    for update in steps_of(LIFE, clock):
        outcome = fold.apply(status, update, NOW + 1000)
        assert isinstance(outcome, Status)
        status = outcome
        repeated = fold.apply(status, update, NOW + 1000)
        assert repeated is DUPLICATE or (
            isinstance(repeated, Rejection) and repeated.reason == "stale"
        )


def test_a_repeat_of_the_same_millisecond_would_count_a_retry() -> None:
    """Why the time has fractions: an older one, sent again, is no step back."""
    fold = Fold("task", RULES)

    def retries(clock: Callable[[], float]) -> int | None:
        [*before, failed, waiting] = steps_of(LIFE[:5], clock)
        status: Status | None = None
        for update in [*before, failed, waiting, failed, waiting]:
            outcome = fold.apply(status, update, NOW + 10_000)
            status = outcome if isinstance(outcome, Status) else status
        return status.retries if status else None

    assert retries(lambda: NOW) == 2
    seconds = iter(range(10))
    # Further apart than clock_skew; what is nearer is looked for in the stream before it is sent.
    assert retries(lambda: NOW + 1_500 * next(seconds)) == 1
