"""Text that others wrote, as people may see it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_tracker.text import decoded, escaped, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("\x1b[2J\x07", r"\x1b[2J\x07", id="C0"),
        pytest.param("\x9b31m\x85", r"\x9b31m\x85", id="C1"),
        pytest.param("a\nb\r\tc\x7f", r"a\nb\r\tc\x7f", id="lines, a tab, DEL"),
        pytest.param("a\u2028b\u2029c", r"a\u2028b\u2029c", id="separators of lines"),
        pytest.param("\u202eevil\u2066\u200f", r"\u202eevil\u2066\u200f", id="direction of text"),
        pytest.param("a\u200bb\ufeff", r"a\u200bb\ufeff", id="without width"),
        pytest.param("\udcff\ud800", r"\udcff\ud800", id="lone surrogates"),
        pytest.param("\U000e0041", r"\U000e0041", id="tags"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    """A name in a key must not draw, hide or forge what an operator reads."""
    assert escaped(text) == shown


@pytest.mark.parametrize("text", ["", "worker-1", "größer, 東京 🎬", r"C:\new", "[red]"])
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    """Names in any language are read as they were written."""
    assert escaped(text) == text


@given(st.text(st.characters()))
def test_no_control_character_is_left(text: str) -> None:
    """Whatever is given, one line comes out, and only what can be encoded and seen."""
    shown = escaped(text)
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert escaped(shown) == shown
    shown.encode()


def test_bytes_that_are_no_text_stay_apart() -> None:
    """Two names of which neither is text are still two names."""
    assert (decoded(b"\xff"), decoded(b"\xfe"), decoded(b"gr\xc3\xb6\xc3")) == (
        r"\xff",
        r"\xfe",
        r"grö\xc3",
    )


def test_a_long_text_is_cut() -> None:
    """An error stays one line though somebody gave a book."""
    assert shortened("a" * 80) == "a" * 80
    assert shortened("a" * 81) == "a" * 79 + "…"
