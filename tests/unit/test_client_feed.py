"""Places in the change feed: what is missed is found out, and nothing else is."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions
from status_tracker import Change, FeedGapError
from status_tracker.client.feed import (
    BEGINNING,
    Place,
    Removal,
    check_place,
    events_of,
    next_events,
    places_of,
    token_of,
)
from status_tracker.client.operations import Follow

from tests.unit.driving import driven

KEY = "status:changes"


class Stream:
    """A stream of the server: entries are added, trimmed and deleted."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.added = 0
        self.last = 0
        self.deleted = 0

    def add(self, gap: int = 1) -> None:
        """Add an entry, with an ID some way after the last one's."""
        self.last += gap
        self.added += 1
        self.ids.append(self.last)

    def trim(self, count: int) -> None:
        """Take entries away at the front."""
        del self.ids[:count]

    def delete(self, place: int) -> None:
        """Take one away anywhere, as XDEL does."""
        self.deleted = max(self.deleted, self.ids.pop(place))

    def info(self) -> list[Any]:
        """Return what XINFO STREAM says."""
        first = [b"%d-0" % self.ids[0], [b"data", b""]] if self.ids else None
        return [
            *(b"length", len(self.ids)),
            *(b"last-generated-id", b"%d-0" % self.last),
            *(b"max-deleted-entry-id", b"%d-0" % self.deleted),
            *(b"entries-added", self.added),
            *(b"first-entry", first),
        ]

    def place(self) -> Place:
        """Return its end."""
        return Place(f"{self.last}-0", self.added)


def has_gap(place: Place, reply: Any) -> bool:
    """Tell whether a place is refused."""
    try:
        check_place(KEY, place, reply)
    except FeedGapError:
        return True
    return False


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "add", "trim", "delete"]), st.integers(0, 5))
)


def played(stream: Stream, steps: list[tuple[str, int]]) -> set[int]:
    """Do steps with a stream; return the IDs of what was taken away."""
    before = set(stream.ids)
    for step, number in steps:
        if step == "add":
            stream.add(number + 1)
            before.add(stream.last)
        elif step == "trim":
            stream.trim(number)
        elif number < len(stream.ids):
            stream.delete(number)
    return before - set(stream.ids)


@given(STEPS, STEPS)
def test_a_place_is_refused_exactly_where_something_after_it_is_gone(
    earlier: list[tuple[str, int]], later: list[tuple[str, int]]
) -> None:
    """IDs have gaps, so that none is missed shows by how many were added."""
    stream = Stream()
    played(stream, earlier)
    place, last = stream.place(), stream.last
    gone = {entry for entry in played(stream, later) if entry > last}
    assert has_gap(place, stream.info()) == bool(gone)


def test_a_feed_that_was_replaced_is_noticed() -> None:
    """By its last ID, by its number of entries, or by what is first in it."""
    stream = Stream()
    for _ in range(5):
        stream.add()
    place = stream.place()
    assert has_gap(place, exceptions.ResponseError("ERR no such key"))
    older, shorter, longer = Stream(), Stream(), Stream()
    older.add()
    shorter.add(100)
    for _ in range(7):
        longer.add(100)
    assert all(has_gap(place, each.info()) for each in (older, shorter, longer))


def test_one_who_began_before_there_was_a_feed_misses_nothing() -> None:
    """The first entries are all after that place."""
    stream = Stream()
    assert not has_gap(BEGINNING, exceptions.ResponseError("ERR no such key"))
    for _ in range(3):
        stream.add(7)
    assert not has_gap(BEGINNING, stream.info())
    stream.trim(1)
    assert has_gap(BEGINNING, stream.info())


@given(st.lists(st.tuples(st.integers(0, 2**50), st.integers(0, 2**50)), min_size=1))
def test_a_token_holds_places(numbers: list[tuple[int, int]]) -> None:
    """It is text that fits into a URL, and comes back as the places that it was made of."""
    places = {f"s{n}": Place(f"{at}-1", added) for n, (at, added) in enumerate(numbers)}
    token = token_of(places.values())
    assert token.replace("-", "").replace("_", "").isalnum()
    assert places_of(token, list(places)) == places


@pytest.mark.parametrize(
    "token",
    [
        *["", "x", "kZOjMC0wAAA=", "AAAA", "é", token_of([BEGINNING])],
        *(token_of([BEGINNING, Place(each, 0)]) for each in ("1", f"{2**64}-0", "\u0661-1")),
    ],
)
def test_a_token_of_something_else_is_refused(token: str) -> None:
    """In one line, whatever somebody put into a URL."""
    with pytest.raises(ValueError, match="no token of this deployment"):
        places_of(token, ["a", "b"])


def change(entity: str) -> bytes:
    """Return an entry's document."""
    return msgspec.json.encode(
        Change(phase="running", updated_at=1e12, kind="task", id=entity, event="1-0")
    )


def test_removals_are_told_one_by_one() -> None:
    """And who resumes in the middle of an entry is told the rest of it, once."""
    removed = b'[["task","a"],["task","b",1700000000000,"completed"],["asset","c"]]'
    values = [b"removed", removed]
    events = list(events_of(KEY, Place("1-0", 1), "2-0", values))
    assert [event.what for event in events] == [
        Removal("task", "a"),
        Removal("task", "b"),
        Removal("asset", "c"),
    ]
    assert events[-1].place == Place("2-0", 2)
    rest = list(events_of(KEY, events[0].place, "2-0", values))
    assert rest == events[1:]


def test_what_somebody_else_wrote_is_passed_over() -> None:
    """It is no change, and must not end a feed that others follow."""
    for values in (
        [b"data", b"{"],
        [b"removed", b'{"a":1}'],
        [b"other", b"x"],
        [b"removed", b"[1]"],
    ):
        assert list(events_of(KEY, BEGINNING, "1-0", values)) == []


def followed(replies: Mapping[str, Any], places: dict[str, Place]) -> list[str]:
    """Return the ids that one look at the streams tells of."""

    def answer(request: Any) -> Any:
        assert isinstance(request, Follow)
        return replies

    events = driven(next_events(None, places), answer)  # type: ignore[arg-type]
    return [event.what.id for event in events]


def test_a_part_that_is_away_holds_up_no_other() -> None:
    """In a cluster each partition has its own stream; its place waits for it."""
    stream = Stream()
    stream.add()
    entries = [[b"1-0", [b"data", change("a")]]]
    lost = exceptions.ConnectionError("gone")
    places = {"one": BEGINNING, "two": BEGINNING}
    replies = {"one": (lost, lost), "two": (entries, stream.info())}
    assert followed(replies, places) == ["a"]
    assert places == {"one": BEGINNING, "two": Place("1-0", 1)}


def test_entries_that_came_after_a_trim_are_not_told() -> None:
    """A reader that is too slow hears of the gap instead of what is left behind it."""
    stream = Stream()
    for _ in range(3):
        stream.add()
    stream.trim(1)
    entries = [[b"2-0", [b"data", change("b")]]]
    with pytest.raises(FeedGapError, match="trimmed: max_changes keeps 2"):
        followed({"one": (entries, stream.info())}, {"one": BEGINNING})
