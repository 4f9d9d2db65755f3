"""What must hold of the fold for any rules and any stream, however disordered."""

import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from status_tracker.fold import Corrupt
from status_tracker.models import Status

from tests.model import Model
from tests.unit.deployments import RANDOM, SHIPPED
from tests.unit.folding import Folder, text
from tests.unit.streams import IDS, Event, Scene, scenes, trials
from tests.wire import Document

Step = Callable[[Document, Status, Status], bool]
"""Whether a status may follow another one of the same entity, by the table of its kind."""

WAYS = ("transitions", "retries", "restarts")


def fold(scene: Scene, stream: list[Event]) -> tuple[list[str], dict[tuple[str, str], str]]:
    """Fold a stream; return each event's outcome, and the published statuses at the end."""
    folder = Folder(scene.deployment.rules)
    return [folder.apply(each.data, each.received) for each in stream], folder.documents()


def assert_the_model_agrees(scene: Scene, corrupt: set[str]) -> None:
    """Compare outcome, reason and documents after every event; some ids hold no status."""
    rules, kinds = scene.deployment
    folder = Folder(rules)
    model = Model(partitions=1, kinds=kinds)
    model.corrupt = {(kind, entity_id) for kind in kinds for entity_id in corrupt}
    folder.corrupt = dict.fromkeys(model.corrupt, Corrupt("no status"))
    for each in scene.stream:
        outcome = folder.apply(each.data, each.received)
        expected: str = each.feed(model)
        if expected == "rejected":
            expected = model.rejected[-1].reason
        event(expected)
        assert outcome == expected
        assert folder.documents() == {key: text(doc) for key, doc in model.statuses.items()}


CORRUPT = st.sampled_from([set[str](), set[str](), {IDS[0]}])


@given(scenes(st.just(SHIPPED)), CORRUPT)
@trials(80)
def test_the_model_agrees_on_every_event(scene: Scene, corrupt: set[str]) -> None:
    """The fold is the contract's: outcome, reason and document are the model's, event by event."""
    assert_the_model_agrees(scene, corrupt)


@given(scenes(RANDOM), CORRUPT)
@trials(80)
def test_the_model_agrees_under_any_rules(scene: Scene, corrupt: set[str]) -> None:
    """Kinds are data: whatever a deployment's rules say, they are gone by to the letter."""
    assert_the_model_agrees(scene, corrupt)


@given(scenes())
@trials(25)
def test_a_replay_ends_the_same(scene: Scene) -> None:
    """The result is a function of the stream: no clock and nothing left over takes part in it."""
    assert fold(scene, scene.stream) == fold(scene, scene.stream)


@given(scenes())
@trials(40)
def test_every_event_twice_changes_nothing(scene: Scene) -> None:
    """A producer that sends each update again at once changes no status: nothing counts twice.

    Both come in the same millisecond; a later repeat of an update from the `future` may be in time.
    """
    doubled = [each for each in scene.stream for _ in range(2)]
    outcomes, statuses = fold(scene, doubled)
    assert statuses == fold(scene, scene.stream)[1]
    assert "applied" not in outcomes[1::2]


@given(scenes())
@trials(30)
def test_an_attempt_that_is_over_changes_nothing(scene: Scene) -> None:
    """What a worker that was given up says of its attempt is not taken for news of the next one."""
    folder = Folder(scene.deployment.rules)
    for each in scene.stream:
        attempts = {
            entity: statuses[-1].attempt or 0 for entity, statuses in folder.histories.items()
        }
        if folder.apply(each.data, each.received) == "applied" and each.data is not None:
            update = json.loads(each.data)
            begun = attempts.get((update["kind"], update["id"]), 0)
            assert (update.get("attempt") or begun) >= begun


def leads(table: Document, before: Status, after: Status, *ways: str) -> bool:
    """Whether one of a kind's tables has the step."""
    return any(after.phase in table.get(way, {}).get(before.phase, []) for way in ways)


def begins_attempt(table: Document, before: Status, after: Status) -> bool:
    """Whether the step is a retry or a restart, or comes with a larger attempt."""
    counted = None not in (before.attempt, after.attempt) and before.attempt != after.attempt
    return counted or leads(table, before, after, "retries", "restarts")


def progress_never_falls(table: Document, before: Status, after: Status) -> bool:
    """Within an attempt, what is done stays done, and what was told is not forgotten."""
    is_forced = before.phase != after.phase and not leads(table, before, after, *WAYS)
    if is_forced or begins_attempt(table, before, after) or before.progress is None:
        return True
    return after.progress is not None and after.progress >= before.progress


def retries_stay_in_bounds(table: Document, before: Status, after: Status) -> bool:
    """The count moves only with a retry or a restart, by one or to 0, and never over the limit."""
    if before.retries is None or after.retries is None:
        return "max_retries" not in table and before.retries is after.retries
    allowed = {before.retries}
    if leads(table, before, after, "retries"):
        allowed = {before.retries + 1, 0}
    elif leads(table, before, after, "restarts"):
        allowed = {0}
    return after.retries in allowed and after.retries <= table["max_retries"]


def attempts_never_fall(_table: Document, before: Status, after: Status) -> bool:
    """The largest attempt that was sent stays, also where an update has none."""
    return before.attempt is None or (after.attempt or 0) >= before.attempt


def time_never_falls(_table: Document, before: Status, after: Status) -> bool:
    """A dashboard can tell the newer of two documents by `updatedAt`."""
    return after.updated_at >= before.updated_at


def something_changed(_table: Document, before: Status, after: Status) -> bool:
    """An update that says nothing new is a duplicate, not a change."""
    return before != after


def terminal_phases_are_final(table: Document, before: Status, after: Status) -> bool:
    """Nothing is ever applied to a status in a terminal phase, but by force to another phase."""
    return before.phase not in table["terminal"] or before.phase != after.phase


def every_edge_is_the_lifecycle_s(table: Document, before: Status, after: Status) -> bool:
    """Without force, no stream leads along an edge that the rules do not have."""
    return before.phase == after.phase or leads(table, before, after, *WAYS)


def assert_every_step(holds: Step, scene: Scene) -> Folder:
    """Hold a rule against any two statuses that follow each other; return what was folded."""
    folder = Folder(scene.deployment.rules)
    for each in scene.stream:
        folder.apply(each.data, each.received)
    for (kind, _), history in folder.histories.items():
        for before, after in pairwise(history):
            assert holds(scene.deployment.kinds[kind], before, after), (before, after)
    return folder


@pytest.mark.parametrize(
    "holds",
    [
        progress_never_falls,
        retries_stay_in_bounds,
        attempts_never_fall,
        time_never_falls,
        something_changed,
        terminal_phases_are_final,
    ],
)
@given(scene=scenes())
@trials(30)
def test_every_step_of_every_life(holds: Step, scene: Scene) -> None:
    """What a function above says holds between any two statuses that follow each other."""
    assert_every_step(holds, scene)


@given(scenes(forced=False))
@trials(50)
def test_without_force_no_step_is_illegal(scene: Scene) -> None:
    """Every life begins where its kind's do, and takes no edge but those of the lifecycle."""
    folder = assert_every_step(every_edge_is_the_lifecycle_s, scene)
    for (kind, _), (first, *_) in folder.histories.items():
        assert first.phase in scene.deployment.kinds[kind]["initial"]
