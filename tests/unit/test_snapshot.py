"""The form of a snapshot: what goes in comes out, and what is not whole is refused."""

import io
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_tracker.errors import InputError
from status_tracker.maintenance.snapshot import (
    End,
    Entity,
    Header,
    Line,
    Part,
    Snapshot,
    bytes_of,
    entity_of,
    line_of,
    text_of,
)
from status_tracker.maintenance.spool import Spool, spooled

HEADER = Header(
    version=1,
    snapshot="s",
    prefix="status",
    partitions=2,
    layout="single",
    revision=1,
    rules={1: "{}"},
)
ENTITIES = [
    Entity(kind="task", id="a", status='{"phase":"pending"}', index={"pending": "1"}),
    Entity(kind="task", id="b"),
]
LINES: list[Line] = [
    HEADER,
    Part(number=0, entities=1, fields={"cursor": "1-1"}),
    ENTITIES[0],
    Part(number=1, entities=1, fields={}),
    ENTITIES[1],
    End(snapshot="s", entities=2),
]
WHOLE = [line_of(each) for each in LINES]


def snapshot(*lines: bytes) -> Snapshot:
    """Return the snapshot of a file with these lines."""
    return Snapshot("file", io.BytesIO(b"".join(line + b"\n" for line in lines)))


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_survive(raw: bytes) -> None:
    """Quotes, line ends and what is no text: a status is the same to the byte, in one line."""
    line = line_of(Entity(kind="task", id="é", status=text_of(raw), history=[text_of(raw)]))
    assert b"\n" not in line
    entity = entity_of(line)
    assert entity.status is not None
    assert [bytes_of(each) for each in (entity.status, *entity.history)] == [raw, raw]


def test_a_whole_one() -> None:
    """All that it has is read, as often as it is asked for."""
    found = snapshot(*WHOLE)
    assert found.check() == 2
    assert list(found.entities()) == [(3, ENTITIES[0]), (5, ENTITIES[1])]
    assert [part.number for part in found.parts] == [0, 1]
    assert found.check() == 2


@pytest.mark.parametrize("gone", range(1, len(WHOLE)))
def test_a_line_is_missing(gone: int) -> None:
    """Whichever it is, nothing is imported."""
    with pytest.raises(InputError, match="file: lines are missing: export it again"):
        snapshot(*WHOLE[:gone], *WHOLE[gone + 1 :]).check()


def test_the_end_of_another_one() -> None:
    """Two files that were put together are none."""
    other = line_of(End(snapshot="other", entities=2))
    with pytest.raises(InputError, match="lines are missing"):
        snapshot(*WHOLE[:-1], other).check()


NEWER = line_of(msgspec.structs.replace(HEADER, version=2))
WITHOUT_RULES = line_of(msgspec.structs.replace(HEADER, rules={}))


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (b"", "file:1: Input data was truncated: export it again"),
        (b'{"kind":"task"}', "file:1: Object missing required field `type`"),
        (WHOLE[-1], "file:1: this is not the first line of a snapshot"),
        (NEWER, "file:1: version: 2, but this release reads 1: use the release that wrote it"),
        (WITHOUT_RULES, "file:1: rules: those of revision 1 are missing"),
    ],
)
def test_no_snapshot(first: bytes, says: str) -> None:
    """The first line says so, before anything is done."""
    with pytest.raises(InputError) as refused:
        snapshot(first, *WHOLE[1:])
    assert str(refused.value).startswith(says)


def test_a_line_that_is_no_line() -> None:
    """Its number is said, and what is wrong with it."""
    lines = [*WHOLE[:2], json.dumps({"type": "entity", "kind": 1}).encode(), *WHOLE[2:]]
    with pytest.raises(InputError, match="file:3: Expected `str`, got `int`"):
        snapshot(*lines).check()


def test_the_spool_keeps_the_last() -> None:
    """Of an entity that is copied again the older copy goes; partitions are apart."""
    with Spool() as spool:
        spool.put(spooled(number, each) for each in ENTITIES for number in (0, 1))
        later = Entity(kind="task", id="a", status="later")
        spool.put([spooled(0, later)])
        spool.drop(1, "task", ["a", "gone"])
        assert spool.get(0, "task", "a") == later
        assert spool.get(1, "task", "a") is None
        assert [(each.kind, each.id) for each in spool.of(0)] == [("task", "a"), ("task", "b")]
        assert [spool.count(number) for number in range(3)] == [2, 1, 0]
