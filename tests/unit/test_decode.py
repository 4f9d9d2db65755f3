"""From bytes to an update: nothing a producer can send raises, and the reason is the right one."""

import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from status_tracker.decode import find_data, invalid_id
from status_tracker.models import Rejection, TaskUpdate

from tests.events import NOW, update
from tests.model import Model
from tests.unit.folding import read

WHOLE = update("é/✓", "running", NOW + 0.5, progress=0.5, errorMessage="é", restart=True, x=[None])


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
    assert isinstance(found, TaskUpdate)
    assert found.error_message == message


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"[" * 65_536, id="brackets"),
        pytest.param(b"[" * 500 + b'"' * 65_000, id="quotes"),
        pytest.param(b"[" * 500 + b'\\"' * 32_000, id="escaped quotes"),
        pytest.param(b"[" * 500 + b"\\" * 65_000, id="backslashes"),
        pytest.param(b'{"":' * 16_000, id="objects"),
        pytest.param(b"9" * 65_536, id="digits"),
    ],
)
def test_no_bytes_take_long(data: bytes) -> None:
    """A single entry cannot hold up its partition: decoding takes time by length, not its square.

    What takes milliseconds may take a second here, on a machine that is busy.
    """
    begun = time.perf_counter()
    assert isinstance(read(data), Rejection)
    assert time.perf_counter() - begun < 1


def test_an_invalid_update_says_where() -> None:
    """The detail of a rejection is msgspec's message with the path of the field."""
    assert read(update("a", "done")) == Rejection(
        "invalid", "Invalid enum value 'done' - at `$.phase`"
    )
    assert read(update("a", "pending", NOW // 1000)) == Rejection(
        "invalid", "Expected `int` >= 100000000000 - at `$.updatedAt`"
    )


def test_numbers_stay_as_they_came() -> None:
    """An integer stays an integer and a fraction a fraction, up to the document."""
    found = read(update("a", "pending", NOW, progress=1))
    assert isinstance(found, TaskUpdate)
    assert (type(found.updated_at), type(found.progress)) == (int, int)
    found = read(update("a", "pending", float(NOW), progress=1.0))
    assert isinstance(found, TaskUpdate)
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
        "malformed", "no field `data`; found: 0000, 0001, 0002, 0003, 0004 and 995 more"
    )
