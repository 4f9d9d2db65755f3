"""From bytes to an update: nothing a producer can send raises, and the reason is the right one."""

import json
import sys
import tracemalloc
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from status_tracker.decode import Decoder, find_data, invalid_id
from status_tracker.models import Rejection, Update
from status_tracker.rules import parse_rules

from tests.events import NOW, update
from tests.line import MAX_EVENT_BYTES
from tests.model import Model
from tests.unit.deployments import LIMITS
from tests.unit.folding import read

WHOLE = update(
    "é/✓",
    "running",
    NOW + 0.5,
    progress=0.5,
    errorMessage="é",
    restart=True,
    attempt=2,
    force=False,
    x=[None],
)


def reason_of(data: bytes) -> str | None:
    """Return why the worker refuses the bytes, None where it takes them."""
    found = read(data)
    return found.reason if isinstance(found, Rejection) else None


def reason_by_contract(data: bytes) -> str | None:
    """Return why the model refuses the bytes as an update, None where it takes them."""
    model = Model(partitions=1)
    model.apply(0, f"{2**53}-0", data)
    reasons = [each.reason for each in model.rejected]
    return reasons[0] if reasons and reasons[0] != "unknown_entity" else None


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise(data: bytes) -> None:
    """Whatever stands in a stream has an outcome, and the same one each time it is read."""
    assert isinstance(read(data), Rejection)
    assert read(data) == read(data)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 2), st.text(max_size=3).map(str.encode))
@example(WHOLE.index(b"700000"), 0, b"E")  # a number that is too large, and ends as none
@settings(max_examples=800, deadline=None)
def test_a_slip_is_judged_by_the_contract(place: int, removed: int, inserted: bytes) -> None:
    """An update with some characters lost or added is not JSON, or no update, or still one."""
    data = WHOLE[:place] + inserted + WHOLE[place + removed :]
    assert reason_of(data) == reason_by_contract(data)


_odd: st.SearchStrategy[object] = st.sampled_from(
    [
        *[None, True, [], {}, "", "a", "a b", "running", "ready", "task"],
        *["\u2003", "\x9b", "\u200b", "}"],
        *[0, 1, -1, 0.5, 1.5, 10**11, 10**11 - 1, 10**11 - 0.5, 2**53, 2**53 + 1, 2**64, 1e300],
    ]
)


@given(
    st.dictionaries(
        st.sampled_from([*json.loads(WHOLE), "retries", "Phase"]), _odd, min_size=1, max_size=2
    ),
    st.sampled_from(["task", "asset"]),
)
@settings(max_examples=800, deadline=None)
def test_odd_values_are_judged_by_the_contract(odd: dict[str, object], kind: str) -> None:
    """Each field's type, bounds and characters are those of the table, and nothing is converted."""
    usual = {**json.loads(WHOLE), "kind": kind, "phase": "waiting"}
    data = json.dumps({**usual, **odd}).encode()
    assert reason_of(data) == reason_by_contract(data)


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(b'"id":"e\xff"', id="an id"),
        pytest.param(b'"id":"e","errorMessage":"\xff"', id="a known field"),
        pytest.param(b'"id":"e","step":"\xff"', id="an unknown field"),
        pytest.param(b'"id":"e","st\xffep":1', id="an unknown name"),
    ],
)
def test_bytes_outside_utf_8_are_not_json(where: bytes) -> None:
    """JSON is UTF-8: an entry that no JSON reader takes is malformed, wherever the bytes stand."""
    data = b'{"kind":"task","phase":"pending","updatedAt":1700000000000,' + where + b"}"
    assert reason_of(data) == "malformed"


def from_deep_down(frames: int, data: bytes) -> str | None:
    """Return the reason as it is found from below so many calls."""
    return reason_of(data) if frames == 0 else from_deep_down(frames - 1, data)


@pytest.mark.parametrize("brackets", [100, 700, 5_000])
def test_the_answer_is_the_bytes_alone(brackets: int) -> None:
    """A replay takes what was taken, however deep the caller's stack is this time (promise 4)."""
    nested = b"[" * brackets + b"]" * brackets
    data = update("a", "pending")[:-1] + b',"step":' + nested + b"}"
    assert from_deep_down(500, data) == reason_of(data)


@pytest.mark.parametrize("message", ["[" * 60_000, '["\\' * 9_000, '"{' * 20_000])
def test_brackets_in_a_text_are_text(message: str) -> None:
    """An error message may quote code: what looks like nesting in it is none."""
    found = read(update("a", "pending", errorMessage=message))
    assert isinstance(found, Update)
    assert found.error_message == message


def effort(data: bytes) -> tuple[int, int]:
    """Return how many lines of Python judge the bytes, and how many bytes it takes at the most."""
    lines = 0

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    read(data)  # what is done only once is not of interest
    tracemalloc.start()
    try:
        sys.settrace(count)
        read(data)
        sys.settrace(None)
        return lines, tracemalloc.get_traced_memory()[1]
    finally:
        sys.settrace(None)
        tracemalloc.stop()


def filled(begin: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """Return the largest entry that repeats a unit between two ends."""
    room = MAX_EVENT_BYTES - len(begin) - len(end)
    return begin + unit * (room // len(unit)) + end


HOSTILE = [
    pytest.param(filled(b"", b"["), id="brackets"),
    pytest.param(filled(b"", b"[]"), id="pairs of brackets"),
    pytest.param(filled(b"[[]", b",[]", b"]"), id="empty lists"),
    pytest.param(filled(b"[" * 399 + b"[]", b",[]", b"]" * 399), id="empty lists, deep down"),
    pytest.param(filled(b"[[]" + b",[]" * 500, b',""', b"]"), id="empty texts beside lists"),
    pytest.param(filled(b'{"kind":"zzz","x":[0', b",9e307", b"]}"), id="large numbers"),
    pytest.param(filled(b'{"kind":"zzz","x":[0', b",9e999", b"]}"), id="numbers too large"),
    pytest.param(filled(b'{"kind":"zzz","x":', b"9", b"}"), id="one number of 64 KiB"),
    pytest.param(filled(b'{"kind":"zzz"', b',"kind":1', b"}"), id="the same name"),
    pytest.param(filled(b'{"kind":"', b"z", b'"}'), id="a kind of 64 KiB"),
    pytest.param(filled(b"[" * 500, b'"'), id="quotes"),
    pytest.param(filled(b"[" * 500, b'\\"'), id="escaped quotes"),
    pytest.param(filled(b"[" * 500, b"\\"), id="backslashes"),
    pytest.param(filled(b"", b'{"":'), id="objects"),
    pytest.param(filled(b"", b"9"), id="digits"),
    pytest.param(filled(b'"', "é".encode(), b"\xff"), id="no UTF-8 at its end"),
]


@pytest.mark.parametrize("data", HOSTILE)
def test_no_bytes_take_long(data: bytes) -> None:
    """A producer must not stop a partition by entries that take a hundred times an honest one.

    Counted in steps and in bytes, for a clock would be another machine's: what goes through the
    data in Python takes a line for each byte, and what builds objects of it takes many bytes.
    """
    lines, peak = effort(data)
    assert lines < len(data) / 32
    assert peak < 32 * len(data)


_pieces = st.sampled_from(
    [b"[", b"]", b"{", b"}", b"[]", b"{}", b'"', b'""', b"\\", b",", b":", b'"a":', b"0", b"9e307"]
)


@given(
    st.sampled_from([b"", b"[", b'{"kind":"zzz","x":[0,', b'{"kind":"task","id":"a","x":[']),
    st.lists(_pieces, min_size=1, max_size=6).map(b"".join),
    st.sampled_from([b"", b"]", b"]}"]),
)
@settings(max_examples=200, deadline=None)
def test_no_repetition_takes_long(begin: bytes, unit: bytes, end: bytes) -> None:
    """The same for whatever a producer may find that we did not."""
    lines, peak = effort(filled(begin, unit, end))
    assert lines < MAX_EVENT_BYTES / 32
    assert peak < 32 * MAX_EVENT_BYTES


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        (
            {"phase": "done"},
            'phase: "done"; must be pending, waiting, running, failed, completed or cancelled',
        ),
        ({"kind": "export"}, 'kind: "export"; must be task or asset'),
        ({"progress": 55}, "progress: 55; must be a number from 0 to 1"),
        ({"updatedAt": NOW // 1000}, "updatedAt: 1700000000; must be milliseconds since the epoch"),
        ({"errorMessage": ["x" * 999]}, f'errorMessage: ["{"x" * 58}…; must be text'),
        ({"restart": 1}, "restart: 1; must be true or false"),
        ({"attempt": 0}, "attempt: 0; must be a whole number from 1 to 2^53"),
        ({"attempt": "2"}, 'attempt: "2"; must be a whole number from 1 to 2^53'),
        ({"attempt": 1.5}, "attempt: 1.5; must be a whole number from 1 to 2^53"),
        ({"force": "yes"}, 'force: "yes"; must be true or false'),
        ({"force": None}, "force: null; must be true or false"),
        ({"id": "a b"}, "id: 'a b'; must be text of 1 to 256 characters, without whitespace"),
        ({"id": "x" * 257}, f'id: "{"x" * 59}…; must be text of 1 to 256 characters'),
    ],
)
def test_an_invalid_update_says_what_may_be_there(fields: dict[str, object], detail: str) -> None:
    """A producer's author learns which field it is, what stands there, and what may."""
    whole = {"kind": "task", "id": "a", "phase": "pending", "updatedAt": NOW}
    found = read(json.dumps(whole | fields).encode())
    assert isinstance(found, Rejection)
    assert found.reason == "invalid"
    assert found.detail.startswith(detail)


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"kind": "task"}, 'kind: "task"; must be export'),
        ({"phase": "pending"}, 'phase: "pending"; must be queued or done'),
        ({"restart": "yes"}, None),
    ],
)
def test_what_may_be_there_follows_from_the_rules(
    fields: dict[str, object], detail: str | None
) -> None:
    """The kinds and phases are the deployment's own; `restart` is a field of some kinds only."""
    table = {
        "phases": ["queued", "done"],
        "initial": ["queued"],
        "success": [],
        "terminal": ["done"],
        "transitions": {"queued": ["done"]},
    }
    rules = parse_rules({**LIMITS, "export": table})
    whole = {"kind": "export", "id": "a", "phase": "queued", "updatedAt": NOW}
    found = read(json.dumps(whole | fields).encode(), Decoder(rules))
    if detail is None:
        assert isinstance(found, Update)
    else:
        assert found == Rejection("invalid", detail)


def test_what_is_missing_is_said() -> None:
    """A field that is not there, and data that is no object, are told apart from wrong values."""
    assert read(b'{"kind":"task","id":"a","updatedAt":1700000000000}') == Rejection(
        "invalid",
        "phase: missing; must be pending, waiting, running, failed, completed or cancelled",
    )
    assert read(b"{}") == Rejection("invalid", "kind: missing; must be task or asset")
    assert read(b"[1]") == Rejection("invalid", "not a JSON object")


def test_numbers_stay_as_they_came() -> None:
    """An integer stays an integer and a fraction a fraction, up to the document."""
    found = read(update("a", "pending", NOW, progress=1))
    assert isinstance(found, Update)
    assert (type(found.updated_at), type(found.progress)) == (int, int)
    found = read(update("a", "pending", float(NOW), progress=1.0))
    assert isinstance(found, Update)
    assert (type(found.updated_at), type(found.progress)) == (float, float)


@pytest.mark.parametrize("character", [" ", "\t", "\n", "\x00", "\x7f", "\x9b", "\u2028", "{", "}"])
def test_characters_that_no_id_has(character: str) -> None:
    """Whitespace, control characters and braces are refused at any place of an id."""
    for entity_id in (f"{character}a", f"a{character}b", f"a{character}", character):
        assert invalid_id(entity_id)


@pytest.mark.parametrize("entity_id", ["a", ":", "*", "é/✓", "x" * 256, "\U0001f600", "a\\b'\"c"])
def test_ids_that_are_fine(entity_id: str) -> None:
    """All else may stand in an id, key separators and wildcards too."""
    assert invalid_id(entity_id) is None


def test_an_entry_without_data_names_what_it_has() -> None:
    """The detail helps to find the producer, and stays short however many fields there are."""
    assert find_data([b"kind", b"task", b"id", b"a"]) == Rejection(
        "malformed", "no field `data`; found: kind, id"
    )
    many = find_data([name for n in range(1000) for name in (b"%04d" % n, b"")])
    assert many == Rejection(
        "malformed", "no field `data`; found: 0000, 0001, 0002, 0003, 0004 and more"
    )
