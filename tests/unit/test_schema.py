"""The schemas say what the decoder takes and what the fold publishes: no more, and no less."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator
from status_tracker.decode import Decoder, invalid_id
from status_tracker.keys import Keys, Layout
from status_tracker.lifecycle import Lifecycle
from status_tracker.models import Status, Update
from status_tracker.rules import Rules
from status_tracker.schema import asyncapi, change_schema, status_schema, update_schema

from tests.line import RULES
from tests.unit.deployments import KIND_NAMES, PHASES, RANDOM, Deployment
from tests.unit.folding import Folder, read
from tests.unit.streams import Scene, scenes, trials

META_SCHEMA = (
    Path(__file__).parents[1] / "node/node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json"
)

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TIMES = [1e11, 100_000_000_000, 1_700_000_000_000.5, 2**53]
GOOD = {
    "updatedAt": st.sampled_from(TIMES),
    "progress": st.sampled_from([0, 0.0, 0.5, 1, 1.0]),
    "errorMessage": st.text(),
    "restart": st.booleans(),
    "attempt": st.sampled_from([1, 2**53]),
    "force": st.booleans(),
}
ODD_IDS = st.sampled_from(["", "a b", "a\u2003", "a\x85", "a\n", "\ufeff", "{", "é/✓", "x" * 257])
ODD = {
    "kind": st.sampled_from([*KIND_NAMES, "?"]),
    "id": ODD_IDS | st.text() | st.characters(codec="utf-8"),
    "phase": st.sampled_from([*PHASES, "pending"]),
    "updatedAt": st.sampled_from([1e11 - 1, 0, 2**53 + 2, 1e20, 10**30]),
    "progress": st.sampled_from([1.0000001, -0.5, 2, -1, -0.0]),
    "attempt": st.sampled_from([0, 2**53 + 1, 1.5, True]),
    "retries": st.sampled_from([0, 1, -1, 1.5]),
}
"""What stands at an edge, or beyond it; beside that, anything may stand in a field."""


@st.composite
def updates(draw: st.DrawFn, rules: Rules) -> dict[str, Any]:
    """Draw an update in which nothing is odd, or one or two fields are."""
    kind = draw(st.sampled_from(sorted(rules.kinds)))
    phase = draw(st.sampled_from(rules.kinds[kind].phases))
    named = {"kind": st.just(kind), "id": st.just("a"), "phase": st.just(phase)}
    times = {"updatedAt": GOOD["updatedAt"]}
    document: dict[str, Any] = draw(
        st.fixed_dictionaries(
            named | times, optional={name: GOOD[name] for name in GOOD.keys() - times.keys()}
        )
    )
    return oddly(draw, document, ["kind", "id", *GOOD, "phase", "retries"])


@st.composite
def statuses(draw: st.DrawFn, lifecycle: Lifecycle) -> dict[str, Any]:
    """Draw a status in which nothing is odd, or one or two fields are."""
    fields = {"phase": st.sampled_from(lifecycle.phases), "updatedAt": GOOD["updatedAt"]}
    if lifecycle.max_retries is not None:
        fields["retries"] = st.integers(0, 3)
    optional = {name: GOOD[name] for name in ("progress", "errorMessage", "attempt")}
    document: dict[str, Any] = draw(st.fixed_dictionaries(fields, optional=optional))
    return oddly(draw, document, [*fields, *optional, "retries"])


def oddly(draw: st.DrawFn, document: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Change some of the fields of a document, or take them away."""
    for name in draw(st.lists(st.sampled_from(names), max_size=2, unique=True)):
        if draw(st.booleans()):
            document[name] = draw(ODD.get(name, anything) | anything)
        else:
            document.pop(name, None)
    return document


def whole(document: Any) -> bool:
    """Tell whether no integer is written with a fraction: for JSON Schema 1.0 is one, too."""
    fields = document if isinstance(document, dict) else {}
    counts = (fields.get(name) for name in ("attempt", "retries"))
    return not any(isinstance(each, float) and each.is_integer() for each in counts)


@given(RANDOM, st.data())
@trials(80)
def test_an_update_fits_if_the_decoder_takes_it(
    deployment: Deployment, data: st.DataObject
) -> None:
    """Whoever checks with the schema is never surprised by `invalid`, nor kept from sending."""
    rules = deployment.rules
    decoder = Decoder(rules)
    validator = Draft202012Validator(update_schema(rules))
    for _ in range(5):
        document = data.draw(updates(rules))
        found = read(json.dumps(document, ensure_ascii=False).encode(), decoder)
        if whole(document):
            assert validator.is_valid(document) == isinstance(found, Update)


def test_an_id_fits_if_it_is_one() -> None:
    """Each character, and each length at the edge: Python and JSON Schema know other spaces."""
    schema = update_schema(RULES)["$defs"]["task.update"]["properties"]["id"]
    validator = Draft202012Validator(schema)
    characters = [chr(code) for code in range(0x3100) if not chr(code).isalnum()]
    for each in ["", "x" * 256, "x" * 257, "é" * 256, "\ufeff", *characters]:
        assert validator.is_valid(each) == (invalid_id(each) is None), ascii(each)


@given(anything)
@trials(100)
def test_what_is_no_update_does_not_fit(document: Any) -> None:
    """Any JSON may come."""
    found = read(json.dumps(document, ensure_ascii=False).encode())
    assert Draft202012Validator(update_schema(RULES)).is_valid(document) == isinstance(
        found, Update
    )


@given(scenes(RANDOM))
@trials(25)
def test_what_is_published_fits(scene: Scene) -> None:
    """Whatever came of a stream, each document is one by the schema of its kind."""
    rules = scene.deployment.rules
    folder = Folder(rules)
    for each in scene.stream:
        folder.apply(each.data, each.received)
    definitions = status_schema(rules)["$defs"]
    for (kind, _), document in folder.documents().items():
        Draft202012Validator(definitions[f"{kind}.status"]).validate(json.loads(document))


def is_status(document: dict[str, Any], lifecycle: Lifecycle) -> bool:
    """Tell whether a document is as a worker would write it."""
    try:
        status = msgspec.json.decode(json.dumps(document), type=Status)
    except msgspec.MsgspecError:
        return False
    return (
        msgspec.json.decode(msgspec.json.encode(status)) == document
        and status.phase in lifecycle.phases
        and ("retries" in document) == (lifecycle.max_retries is not None)
    )


@given(RANDOM, st.data())
@trials(80)
def test_what_fits_is_a_status(deployment: Deployment, data: st.DataObject) -> None:
    """A reader that goes by the schema is ready for each status, and for nothing else."""
    definitions = status_schema(deployment.rules)["$defs"]
    for kind, lifecycle in deployment.rules.kinds.items():
        document = data.draw(statuses(lifecycle))
        if whole(document):
            validator = Draft202012Validator(definitions[f"{kind}.status"])
            assert validator.is_valid(document) == is_status(document, lifecycle)


def test_a_change_fits() -> None:
    """Also the first one of an entity, and one that was forced."""
    change = {"phase": "failed", "retries": 0, "updatedAt": 1.5e12, "kind": "task", "id": "a"}
    validator = Draft202012Validator(change_schema(RULES))
    validator.validate({**change, "event": "1-0"})
    validator.validate({**change, "event": "1-0", "from": "running", "forced": True})
    assert not validator.is_valid({**change, "event": "1-0", "forced": False})
    assert not validator.is_valid({**change, "kind": "asset", "event": "1-0"})


@pytest.mark.parametrize("make", [update_schema, status_schema, change_schema])
def test_a_schema_passes_its_meta_schema(make: Any) -> None:
    """Tools of any language can read it."""
    schema = make(RULES)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)


@pytest.mark.skipif(not META_SCHEMA.exists(), reason="npm is not there to install the meta-schema")
@pytest.mark.parametrize("layout", ["single", "cluster"])
@pytest.mark.parametrize("history", [0, 20])
def test_asyncapi_passes_its_meta_schema(layout: Layout, history: int) -> None:
    """The whole document is AsyncAPI 3.0.0, and each reference in it leads somewhere."""
    rules = msgspec.structs.replace(RULES, history=history)
    document = asyncapi(rules, Keys("status", layout), partitions=4, revision=2)
    meta = json.loads(META_SCHEMA.read_text())
    Draft7Validator(meta).validate(document)
    for reference in references(document):
        at = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def references(document: Any) -> list[str]:
    """Return all references in a document."""
    if isinstance(document, list):
        return [found for each in document for found in references(each)]
    if not isinstance(document, dict):
        return []
    own = [document["$ref"]] if isinstance(document.get("$ref"), str) else []
    return own + [found for each in document.values() for found in references(each)]


def test_asyncapi_has_the_keys_of_the_layout() -> None:
    """The addresses are the keys' names, with braces where they are part of one."""
    for layout, tag in (("single", ""), ("cluster", ":{partition}")):
        found = asyncapi(RULES, Keys("jobs", layout), partitions=2, revision=1)["channels"]  # type: ignore[arg-type]
        assert found["events"]["address"] == "jobs:events:{partition}"
        assert found["events"]["parameters"]["partition"]["enum"] == ["{0}", "{1}"]
        assert found["task.status"]["address"] == f"jobs:task{tag}:{{id}}"
        assert found["changes"]["address"] == f"jobs:changes{tag}"
        assert "task.history" not in found
