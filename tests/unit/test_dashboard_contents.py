"""What people are shown of rejected entries: their bytes, whatever these are, and what to do."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_tracker.dashboard.pages.contents import MOST_DUMPED, contents
from status_tracker.dashboard.pages.reasons import ADVICE, advice_on
from status_tracker.models import Reason


def test_json_is_shown_in_lines() -> None:
    """With its own digits and in its own order, and with what cannot be seen spelt out."""
    found = contents('{"b":1.50,"a":"\u202e<é"}'.encode())
    assert found.form == "JSON"
    assert found.text == '{\n  "b": 1.50,\n  "a": "\\u202e<é"\n}'
    assert found.dump == ""


@pytest.mark.parametrize(
    ("data", "form", "text"),
    [
        ("日本 😀\nb".encode(), "text but no JSON", "日本 😀\nb"),
        (b'{"a":', "text but no JSON", '{"a":'),
        (b"\xff\x1b[2J", "no text", "\\xff\\x1b[2J"),
        (b"a\x00", "no text", "a\\x00"),
        (b'"\\ud800"', "text but no JSON", '"\\ud800"'),
    ],
)
def test_other_bytes_are_shown_as_text(data: bytes, form: str, text: str) -> None:
    """What is no text has a dump, too."""
    found = contents(data)
    assert (found.form, found.text) == (form, text)
    assert bool(found.dump) == (form == "no text")


def test_a_dump_has_the_beginning() -> None:
    """In rows of 16 bytes, as everywhere."""
    found = contents(b"\xff<b>" + bytes(MOST_DUMPED))
    assert found.dump.startswith("000000  ff 3c 62 3e 00 ")
    assert found.dump.splitlines()[0].endswith("  .<b>............")
    assert (len(found.dump.splitlines()), found.is_cut) == (MOST_DUMPED // 16, True)


@pytest.mark.parametrize("data", [b"[" * 30_000, b"[" * 30_000 + b"]" * 30_000])
def test_what_is_nested_deep_stays_short(data: bytes) -> None:
    """Indents would make gigabytes of it."""
    assert contents(data).text == data.decode()
    wide = b"[" * 500 + b"0" + b",0" * 30_000 + b"]" * 500
    assert contents(wide).text == wide.decode()


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_can_be_shown(data: bytes) -> None:
    """In lines of which all can be seen."""
    found = contents(data)
    lines = [*found.text.split("\n"), *found.dump.split("\n")]
    assert all(line.isprintable() for line in lines)


def test_each_reason_has_its_advice() -> None:
    """All that workers give; of another one, it says so."""
    assert ADVICE.keys() == set(get_args(Reason))
    assert advice_on("stale") is ADVICE["stale"]
    assert "do not know" in advice_on("<script>").wrong
