"""Going through a sorted set while it changes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_tracker.client.windows import (
    Cursor,
    Member,
    cursor_in,
    cursor_text,
    next_members,
)

from tests.unit.driving import driven

NAMES = [f"{number:02}".encode() for number in range(40)]
SCORES = st.integers(0, 3)  # so few that most are shared
MOVES = st.lists(st.tuples(st.sampled_from(NAMES), st.none() | SCORES), max_size=20)


class SortedSet:
    """A sorted set of the server."""

    def __init__(self, scores: dict[bytes, int]) -> None:
        self.scores = dict(scores)

    def answer(self, request: Any) -> Any:
        """Answer ZRANGE by rank."""
        [command] = request
        _, _, first, stop, *flags = command
        members = sorted((score, name) for name, score in self.scores.items())
        if "REV" in flags:
            members.reverse()
        window = members[first : stop + 1]
        return [[item for score, name in window for item in (name, str(score).encode())]]


@given(
    st.dictionaries(st.sampled_from(NAMES), SCORES),
    st.lists(MOVES),
    st.integers(1, 7),
    st.booleans(),
)
def test_who_stays_comes_once(
    scores: dict[bytes, int], moves: list[list[tuple[bytes, int | None]]], count: int, newest: bool
) -> None:
    """Whatever enters, leaves and comes back between two pages, however many share a score."""
    there = SortedSet(scores)
    stayed = dict(scores)
    seen: list[Member] = []
    last, rank = None, 0
    turns = iter(moves)
    while True:
        page, rank = driven(
            next_members("key", last, rank, count, newest=newest, within=0), there.answer
        )
        if not page:
            break
        seen += page
        last, rank = page[-1], rank + len(page) - 1
        for name, score in next(turns, []):
            if score is None:
                there.scores.pop(name, None)
            else:
                there.scores[name] = score
            stayed.pop(name, None)
    assert seen == sorted(set(seen), reverse=newest)
    assert {name: int(score) for score, name in seen if name in stayed} == stayed


def test_the_newer_protocol_has_members_in_pairs() -> None:
    """A client that a user gave us may speak it."""
    found, _ = driven(
        next_members("key", None, 0, 2, newest=False, within=0), lambda _: [[[b"a", 1.0]]]
    )
    assert found == [(1.0, b"a")]


def test_a_cursor_is_text() -> None:
    """It comes back as it was; another list's is refused."""
    cursor = Cursor((1.5e12, "é".encode()), [3, 4])
    assert cursor_in(cursor_text(cursor), 2) == cursor
    for text in ("", "x", "AAAA", cursor_text(cursor)):
        with pytest.raises(ValueError, match="no place in this list"):
            cursor_in(text, 3)
