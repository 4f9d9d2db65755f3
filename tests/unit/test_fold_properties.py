"""What must hold of the fold for any stream, however disordered."""

from collections.abc import Callable

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from status_tracker.fold import Corrupt
from status_tracker.models import Status

from tests.model import MAX_RETRIES, RESTARTS, RETRIES, TERMINAL, Entity, Model
from tests.unit.folding import Folder, text
from tests.unit.streams import ENTITIES, Event, streams, trials

Step = Callable[[str, Status, Status], bool]
"""Whether a status of a kind may follow another one of the same entity."""


def fold(stream: list[Event]) -> tuple[list[str], dict[tuple[str, str], str]]:
    """Fold a stream; return each event's outcome, and the published statuses at the end."""
    folder = Folder()
    return [folder.apply(each.data, each.received) for each in stream], folder.documents()


@given(streams(), st.sets(st.sampled_from(ENTITIES), max_size=1))
@trials(250)
def test_the_model_agrees_on_every_event(stream: list[Event], corrupt: set[Entity]) -> None:
    """The fold is the contract's: outcome, reason and document are the model's, event by event."""
    folder = Folder()
    folder.corrupt = dict.fromkeys(corrupt, Corrupt("no status"))
    model = Model(partitions=1)
    model.corrupt = corrupt
    for each in stream:
        outcome = folder.apply(each.data, each.received)
        expected: str = model.apply(0, *each)
        if expected == "rejected":
            expected = model.rejected[-1].reason
        event(expected)
        assert outcome == expected
        assert folder.documents() == {key: text(doc) for key, doc in model.statuses.items()}


@given(streams())
@trials(40)
def test_a_replay_ends_the_same(stream: list[Event]) -> None:
    """The result is a function of the stream: no clock and nothing left over takes part in it."""
    assert fold(stream) == fold(stream)


@given(streams())
@trials(80)
def test_every_event_twice_changes_nothing(stream: list[Event]) -> None:
    """A producer that sends each update again at once changes no status: nothing counts twice.

    Both come in the same millisecond; a later repeat of an update from the `future` may be in time.
    """
    doubled = [each for each in stream for _ in range(2)]
    outcomes, statuses = fold(doubled)
    assert statuses == fold(stream)[1]
    assert "applied" not in outcomes[1::2]


def begins_attempt(kind: str, before: Status, after: Status) -> bool:
    """Whether the step is a retry or a restart."""
    return any(after.phase in steps[kind].get(before.phase, []) for steps in (RETRIES, RESTARTS))


def progress_never_falls(kind: str, before: Status, after: Status) -> bool:
    """Within an attempt, what is done stays done, and what was told is not forgotten."""
    if begins_attempt(kind, before, after) or before.progress is None:
        return True
    return after.progress is not None and after.progress >= before.progress


def retries_stay_in_bounds(kind: str, before: Status, after: Status) -> bool:
    """The count moves only with a new attempt, by one or to 0, and never over the limit."""
    if before.retries is None or after.retries is None:
        return kind == "asset" and before.retries is after.retries
    allowed = {before.retries}
    if begins_attempt(kind, before, after):
        allowed = {before.retries + 1, 0}
    return after.retries in allowed and after.retries <= MAX_RETRIES


def time_never_falls(_kind: str, before: Status, after: Status) -> bool:
    """A dashboard can tell the newer of two documents by `updatedAt`."""
    return after.updated_at >= before.updated_at


def terminal_phases_are_final(kind: str, before: Status, _after: Status) -> bool:
    """Nothing is ever applied to a status in a terminal phase."""
    return before.phase not in TERMINAL[kind]


def something_changed(_kind: str, before: Status, after: Status) -> bool:
    """An update that says nothing new is a duplicate, not a change."""
    return before != after


@pytest.mark.parametrize(
    "holds",
    [
        progress_never_falls,
        retries_stay_in_bounds,
        time_never_falls,
        terminal_phases_are_final,
        something_changed,
    ],
)
@given(stream=streams())
@trials(60)
def test_every_step_of_every_life(holds: Step, stream: list[Event]) -> None:
    """What a function above says holds between any two statuses that follow each other."""
    folder = Folder()
    for each in stream:
        folder.apply(each.data, each.received)
    for (kind, _), history in folder.histories.items():
        for number in range(1, len(history)):
            before, after = history[number - 1], history[number]
            assert holds(kind, before, after), (before, after)
