"""What is wrong with an entity, by what its keys hold."""

import json
from typing import Any

import msgspec
import pytest
from status_tracker.maintenance.judge import Entity, Judge, OtherType, Place, Seen
from status_tracker.metadata import Deployment
from status_tracker.rules import rules_json

from tests.events import NOW
from tests.line import RULES, deployed

KEPT = msgspec.structs.replace(RULES, history=5)
OWN = deployed().keys.partition(0)
TASK = Entity(OWN, "task", "a")


def revised(*kept: int | None) -> Deployment:
    """Return a deployment whose revisions kept so many changes; None where nobody knows."""
    texts = {
        revision: rules_json(msgspec.structs.replace(RULES, history=history))
        for revision, history in enumerate(kept, start=1)
        if history is not None
    }
    rules = msgspec.structs.replace(RULES, history=kept[-1] or 0)
    return msgspec.structs.replace(deployed(rules), revision=len(kept), rules=rules, texts=texts)


def seen(score: float | None, *, entered: int | None = None, **fields: Any) -> Seen:
    """Return a task as its keys have it, running, last updated at `NOW`."""
    status = {"phase": "running", "retries": 0, "updatedAt": NOW, **fields}
    change = {**status, "updatedAt": entered, "kind": "task", "id": "a", "event": "1-1"}
    return Seen(
        document=json.dumps(status).encode(),
        scores={"running": None if score is None else str(score).encode()},
        newest=None if entered is None else json.dumps(change).encode(),
    )


@pytest.mark.parametrize(
    ("score", "entered", "wanted"),
    [
        (NOW, None, None),
        (NOW - 5_000, None, None),
        (NOW + 1, None, NOW),
        (float("-inf"), None, NOW),
        (float("nan"), None, NOW),
        (NOW / 1000, None, NOW),
        (NOW - 5, NOW - 5, None),
        (NOW, NOW - 5, NOW - 5),
        (NOW - 6, NOW - 5, NOW - 5),
        (None, NOW - 5, NOW - 5),
        (None, None, NOW),
    ],
)
def test_scores(score: float | None, entered: int | None, wanted: int | None) -> None:
    """By the history, where there is one; else it lies in the past, and not after `updatedAt`."""
    found = list(Judge(deployed(KEPT)).status(TASK, seen(score, entered=entered)))
    if wanted is None:
        assert found == []
        return
    [difference] = found
    assert difference.what == ("missing_entry" if score is None else "wrong_score")
    assert difference.mend == Place("running", str(wanted))


@pytest.mark.parametrize(
    ("kept", "trusted"),
    [
        ([5], True),
        ([0, 0, 5, 9], True),
        ([0], False),
        ([5, 0], False),
        ([5, 0, 5], False),
        ([None, 5], False),
    ],
)
def test_a_history_counts_where_it_can_have_no_gap(kept: list[int | None], trusted: bool) -> None:
    """Where none was kept for a while, the newest change may not be the last one."""
    judge = Judge(revised(*kept))
    assert bool(list(judge.status(TASK, seen(NOW, entered=NOW - 5)))) is trusted


@pytest.mark.parametrize("phase", ["running", "waiting"])
def test_of_what_is_no_status_nothing_else_is_said(phase: str) -> None:
    """Which of several entries in the index is right, nobody knows then."""
    judge = Judge(deployed(KEPT))
    for document in (b"", b"[]", b'{"phase":"running"}', b"\xff", OtherType("hash")):
        held = Seen(document=document, scores={phase: b"1"}, mark=b"1")
        assert len(list(judge.status(TASK, held))) == 1
        assert list(judge.entry(TASK, held, phase)) == []
        assert list(judge.mark(TASK, held)) == []
        assert list(judge.history(TASK, held)) == []


def test_a_mark_needs_a_limit() -> None:
    """Whether it has passed, only the owner knows: where there is one, the mark is right."""
    judge = Judge(deployed(KEPT))
    for phase, is_wrong in (("running", False), ("pending", True), ("completed", True)):
        document = json.dumps({"phase": phase, "updatedAt": NOW}).encode()
        held = Seen(document=document, mark=b"1")
        assert bool(list(judge.mark(TASK, held))) is is_wrong
