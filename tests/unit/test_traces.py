"""Which entries tell of an entity that is to be forgotten, and which only look so."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_tracker.cli.forget.traces import Traces
from status_tracker.keys import Keys

TRACES = Traces("task", ["a", "wäre", 'qu"ote'], Keys("status", "single"))

VALUES: dict[str, tuple[bytes, bool]] = {
    "an update": (b'{"kind":"task","id":"a","phase":"pending"}', True),
    "escaped": (rb'{"kind":"task","id":"\u0061"}', True),
    "a quote in it": (rb'{"kind":"task","id":"qu\"ote"}', True),
    "of another kind": (b'{"kind":"asset","id":"a"}', False),
    "of another id": (b'{"kind":"task","id":"b","errorMessage":"a"}', False),
    "a longer id": (b'{"kind":"task","id":"a1"}', False),
    "one of several": (b'[["asset","b"],["task","a",1700000000000,"failed"]]', True),
    "none of several": (b'[["asset","a"],["task","b"]]', False),
    "JSON in JSON": (json.dumps('{"kind":"task","id":"a"}').encode(), True),
    "no kind": (b'{"id":"a"}', True),
    "a list of something else": (b'["a"]', True),
    "cut": (b'{"kind":"task","id":"a","errorMessage":"xxx', True),
    "quotes that do not match": (b'{"kind":"task,"id":"a"}', True),
    "no text": (b'\xff"a"', True),
    "no text, other letters": ('\udcff"wäre"'.encode(errors="surrogateescape"), True),
    "part of a string": (b'{"x: "b a", "ab" a', False),
    "not quoted": (b"a", False),
    "nothing": (b"", False),
}


@pytest.mark.parametrize(("value", "found"), VALUES.values(), ids=VALUES)
def test_what_stands_in_an_entry(value: bytes, *, found: bool) -> None:
    """In a stream, in the feed and among the rejected alike: JSON says whom it is about."""
    assert TRACES.in_update({b"data": value}) is found
    assert TRACES.in_update({b"remove": value}) is found
    assert TRACES.in_change({b"data": value}) is found
    assert TRACES.in_rejected({b"reason": b"invalid", b"data": value}) is found


@pytest.mark.parametrize(
    ("traces", "detail", "found"),
    [
        (TRACES, b"status:task:a holds no status", True),
        (TRACES, b"status:task:ab holds no status", False),
        (TRACES, b"status:asset:a holds no status", False),
        (TRACES, b'id: "a"; must be', True),
        (TRACES, b"a -> b", False),
        (Traces("task", ["a"], Keys("status", "cluster")), b"status:task:{3}:a holds no", True),
        (Traces("task", ["a"], Keys("p", "single")), b"status:task:a holds no status", False),
    ],
)
def test_a_detail_that_names_it(traces: Traces, detail: bytes, *, found: bool) -> None:
    """Where the data says nothing; where it is another's, its detail is, too."""
    assert traces.in_rejected({b"detail": detail, b"data": b"x"}) is found
    other = b'{"kind":"task","id":"b"}'
    assert traces.in_rejected({b"detail": detail, b"data": other}) is False


def test_fields_that_are_no_update() -> None:
    """A producer that wrote them side by side named it as well."""
    assert TRACES.in_update({b"kind": b"task", b"id": b"a"})
    assert not TRACES.in_update({b"kind": b"task", b"id": b"b", b"x": b"\xff"})


@given(st.text(min_size=1, max_size=256), st.data())
def test_a_whole_string_is_found_however_it_is_written(entity_id: str, data: st.DataObject) -> None:
    """In what was cut anywhere after it; and nothing that only begins or ends like it."""
    ascii_only = data.draw(st.booleans())
    entity_id = entity_id.encode(errors="replace").decode()
    text = json.dumps({"k": 1, "id": entity_id, "e": "some text"}, ensure_ascii=ascii_only)
    raw = text.encode()
    end = raw.index(b', "e": ')
    cut = raw[: data.draw(st.integers(end, len(raw) - 1))]
    keys = Keys("status", "single")
    assert Traces("task", [entity_id], keys).in_update({b"data": cut})
    longer = Traces("task", [entity_id + "z", "z" + entity_id], keys)
    assert not longer.in_update({b"data": cut})


def test_hostile_bytes_are_judged_in_time() -> None:
    """What looks like the beginning of many strings is looked at once."""
    for value in (b'"' * 65_536, rb"\"" * 32_768, b'"' + b"x" * 65_536, b"[" * 65_536):
        assert not TRACES.in_update({b"data": value})
