"""What commands make of their arguments, and `set` of what it finds."""

import click
import pytest
from status_tracker.cli.arguments import share
from status_tracker.cli.outcomes import Outcome, is_passed
from status_tracker.cli.set import lines


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("1.0", 1.0), ("0.25", 0.25)])
def test_a_number_stays_as_it_was_written(text: str, number: float) -> None:
    """It is published in the form in which it came."""
    found = share(text)
    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize(
    "text", ["1.5", "-1", "nan", "Infinity", "half", "", "true", "null", "\udcff", "\x1b"]
)
def test_a_progress_that_is_none(text: str) -> None:
    """Nothing but a number from 0 to 1 is sent; what a terminal would obey is not repeated."""
    with pytest.raises(click.BadParameter, match="write a number from 0 to 1") as caught:
        share(text)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("cursor", "passed"),
    [
        (None, False),
        (b"", False),
        (b"no ID", False),
        (b"9-9", False),
        (b"10-4", False),
        (b"10-5", True),
        (b"10-10", True),
        (b"11-0", True),
    ],
)
def test_when_a_cursor_has_passed(cursor: bytes | None, passed: bool) -> None:
    """IDs compare as numbers; a cursor that is none has passed nothing."""
    assert is_passed(cursor, b"10-5") is passed


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ((None, b"{1}", None), ["before: none", "after: {1}"]),
        ((b"{1}", b"{2}", None), ["before: {1}", "after: {2}"]),
        ((b"{1}", b"{1}", None), ["unchanged: a duplicate", "after: {1}"]),
        ((b"{1}", None, None), ["before: {1}", "after: none"]),
        ((b"\xff", b"{2}", None), [r"before: \xff", "after: {2}"]),
        ((b"{1}", b"{1}", "stale: late"), ["rejected: stale: late"]),
    ],
)
def test_what_is_said(
    outcome: tuple[bytes | None, bytes | None, str | None], said: list[str]
) -> None:
    """Two lines at most, whatever became of it."""
    before, after, rejected = outcome
    assert list(lines(Outcome(before=before, after=after, rejected=rejected))) == said
