"""The contract's own cases (tests/fold.json), to the letter; other programs read them too."""

import json
from pathlib import Path
from typing import Any

import pytest
from status_tracker.decode import Decoder
from status_tracker.keys import partition_of
from status_tracker.models import Rejection
from status_tracker.rules import parse_rules
from status_tracker.settings import default_file
from status_tracker.toml import read_toml

from tests.model import KINDS, Model
from tests.unit.folding import Folder, read, text

VECTORS: dict[str, Any] = json.loads(Path(__file__).parent.parent.joinpath("fold.json").read_text())

OWN_KINDS = {
    kind: {key: value for key, value in table.items() if key != "about"}
    for kind, table in VECTORS["kinds"].items()
}
"""Kinds beside task and asset, as tables of a deployment's rules."""
RULES = parse_rules({**read_toml(default_file("rules.toml")), **OWN_KINDS})
MODEL_KINDS = {**KINDS, **OWN_KINDS}


def named(cases: list[dict[str, Any]]) -> list[Any]:
    """Return each case as a parameter that is called what the case is called."""
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize(("entity_id", "number"), VECTORS["partition"].items())
def test_partition(entity_id: str, number: int) -> None:
    """Producers in other languages send an id to the partition where the worker keeps it."""
    assert partition_of(entity_id, 4) == number


@pytest.mark.parametrize("case", named(VECTORS["decode"]))
def test_decode(case: dict[str, Any]) -> None:
    """What is an update and what is not, and the reason, is what producers were told."""
    update = read(case["data"].encode(), Decoder(RULES))
    if case.get("accepted"):
        assert not isinstance(update, Rejection)
    else:
        assert isinstance(update, Rejection)
        assert update.reason == case["reason"]
        assert update.detail


@pytest.mark.parametrize("case", named(VECTORS["fold"]))
def test_fold(case: dict[str, Any]) -> None:
    """Each step has the contract's outcome, and publishes its document byte for byte in order."""
    folder = Folder(RULES)
    for number, step in enumerate(case["steps"]):
        where = f"step {number}"
        entity = (case["kind"], step["update"]["id"])
        outcome = folder.apply(json.dumps(step["update"]).encode(), step["received"])
        assert outcome == step.get("reason", step["outcome"]), where
        assert folder.documents().get(entity, "null") == text(step["status"]), where


@pytest.mark.parametrize("case", named(VECTORS["decode"]))
def test_the_model_decodes(case: dict[str, Any]) -> None:
    """The model that other tests trust takes and refuses what the contract does."""
    model = Model(partitions=1, kinds=MODEL_KINDS)
    model.apply(0, "1700010000000-0", case["data"].encode())
    reasons = [rejection.reason for rejection in model.rejected]
    assert reasons == ([] if case.get("accepted") else [case["reason"]])


@pytest.mark.parametrize("case", named(VECTORS["fold"]))
def test_the_model_folds(case: dict[str, Any]) -> None:
    """The model that other tests trust gives the contract's outcomes and documents."""
    model = Model(partitions=1, kinds=MODEL_KINDS)
    for number, step in enumerate(case["steps"]):
        where = f"step {number}"
        data = json.dumps(step["update"]).encode()
        assert model.apply(0, f"{step['received']}-{number}", data) == step["outcome"], where
        if step["outcome"] == "rejected":
            assert model.rejected[-1].reason == step["reason"], where
        status = model.statuses.get((case["kind"], step["update"]["id"]))
        assert text(status) == text(step["status"]), where
