"""The work between a read and a commit: what becomes of entries, and what is kept in memory."""

import msgspec
import pytest
from status_tracker.engine.batch import PESSIMISTIC_BATCHES
from status_tracker.fold import Corrupt
from status_tracker.models import Status

from tests.events import NOW, id_in, update
from tests.line import MAX_EVENT_BYTES
from tests.unit.memory import Loop, MemoryStore, entry

LIFE = ["pending", "waiting", "running", "completed"]


def life(entity_id: str, *phases: str, start: int = 0, kind: str = "task") -> list[bytes]:
    """Return the updates of a life, a millisecond apart."""
    return [update(entity_id, phase, NOW + start + n, kind) for n, phase in enumerate(phases)]


def test_an_update_becomes_a_status_a_move_and_a_change() -> None:
    """A batch says all that a commit has to write for an applied update."""
    batch = Loop().run(entry(update("a", "pending"), "1700000000000-7"))
    assert batch.effects["task"].after == {"a": Status(phase="pending", retries=0, updated_at=NOW)}
    assert batch.effects["task"].before == [None]
    assert [msgspec.to_builtins(change) for change in batch.changes] == [
        {
            "kind": "task",
            "id": "a",
            "phase": "pending",
            "retries": 0,
            "updatedAt": NOW,
            "event": "1700000000000-7",
        }
    ]
    assert (batch.read_from, batch.cursor, batch.entries) == ("0-0", "1700000000000-7", 1)
    assert (batch.rejected, batch.forwards, batch.duplicates) == ([], {}, {})


def test_kinds_do_not_share_statuses() -> None:
    """A task and an asset of the same id are two entities."""
    batch = Loop().run(entry(update("a", "waiting", kind="asset")), entry(update("a", "pending")))
    assert set(batch.effects["task"].after) == set(batch.effects["asset"].after) == {"a"}
    assert [change.from_phase for change in batch.changes] == [None, None]


def test_what_was_before_a_batch_stays_beside_what_is_after_it() -> None:
    """The commit compares the keys with the statuses from before the batch, not from within it."""
    loop = Loop()
    loop.run(*map(entry, life("a", "pending", "waiting")))
    batch = loop.run(*map(entry, life("b", "pending")), *map(entry, life("a", *LIFE[2:], start=9)))
    task = batch.effects["task"]
    assert list(task.after) == ["b", "a"]
    assert task.after["a"].phase == "completed"
    assert task.before == [None, Status(phase="waiting", retries=0, updated_at=NOW + 1)]
    assert len(batch.changes) == 3


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([b"data", update("a", "pending")], id="alone"),
        pytest.param([b"trace", b"\xff", b"data", update("a", "pending")], id="second"),
        pytest.param([b"data", update("a", "pending"), b"data", b"x"], id="twice"),
        pytest.param([b"x", b"data", b"data", update("a", "pending")], id="a value called data"),
        pytest.param([b"x", b"1"] * 999 + [b"data", update("a", "pending")], id="last of 1,000"),
    ],
)
def test_other_fields_are_ignored(fields: list[bytes]) -> None:
    """Producers may add fields of their own, before `data` or after it."""
    batch = Loop().run((b"1700000000000-0", fields))
    assert list(batch.effects["task"].after) == ["a"]


@pytest.mark.parametrize(
    ("fields", "reason", "kept"),
    [
        pytest.param([b"kind", b"task"], "malformed", b"", id="no data"),
        pytest.param([b"x", b"data"], "malformed", b"", id="data as a value"),
        pytest.param([b"\xff\x00", b"\xfe"] * 1000, "malformed", b"", id="1,000 binary fields"),
        pytest.param([b"n" * 10_000_000, b""], "malformed", b"", id="a name of 10 MB"),
        pytest.param([b"data", b""], "malformed", b"", id="empty"),
        pytest.param([b"data", b"\x00\xff\xfe"], "malformed", b"\x00\xff\xfe", id="binary"),
        pytest.param([b"data", b"[" * 60_000], "malformed", b"[" * 60_000, id="deep"),
        pytest.param([b"data", b"[]"], "invalid", b"[]", id="a list"),
        pytest.param(
            [b"data", update("a", "pending", errorMessage="x" * 10_000_000)],
            "oversized",
            update("a", "pending", errorMessage="x" * 70_000)[:MAX_EVENT_BYTES],
            id="10 MB",
        ),
    ],
)
def test_what_is_no_update_is_kept(fields: list[bytes], reason: str, kept: bytes) -> None:
    """Nothing a producer can add stops the loop: it is kept with its bytes, cut to the limit."""
    batch = Loop().run((b"1700000000000-3", fields))
    (rejected,) = batch.rejected
    assert (rejected.reason, rejected.data) == (reason, kept)
    assert (rejected.stream, rejected.id) == ("status:events:{0}", "1700000000000-3")
    assert 0 < len(rejected.detail) < 1000
    assert batch.entries == 1


@pytest.mark.parametrize(
    ("size", "reason"), [(MAX_EVENT_BYTES, None), (MAX_EVENT_BYTES + 1, "oversized")]
)
def test_the_size_limit_is_inclusive(size: int, reason: str | None) -> None:
    """An update of just `max_event_bytes` is taken; one byte more is refused."""
    padding = size - len(update("a", "pending", errorMessage=""))
    batch = Loop().run(entry(update("a", "pending", errorMessage="x" * padding)))
    assert [rejected.reason for rejected in batch.rejected] == ([reason] if reason else [])


def test_a_fold_s_rejection_keeps_the_bytes() -> None:
    """An update that may not be applied can be replayed once its cause is mended."""
    data = update("a", "running", note="é")
    (rejected,) = Loop().run(entry(None), entry(data, "1700000000000-1")).rejected[1:]
    assert (rejected.reason, rejected.data) == ("unknown_entity", data)


def test_another_partition_s_update_is_forwarded_as_it_came() -> None:
    """A producer that knows no partitions loses nothing, not even fields that nobody knows."""
    away = id_in(3)
    data = b"  " + update(away, "completed", note="\u00e9", updatedat=1) + b"\n"
    loop = Loop(partitions=4)
    batch = loop.run(entry(data), entry(update(id_in(1), "pending")), entry(data))
    assert list(batch.forwards) == [3, 1]
    assert [each.data for each in batch.forwards[3]] == [data, data]
    assert loop.loaded == []
    assert not batch.rejected
    assert not batch.changes


def test_an_invalid_id_is_not_forwarded() -> None:
    """An id that no partition would take is refused where it came, not sent around."""
    away = id_in(3, prefix="two words")
    batch = Loop(partitions=4).run(entry(update(away, "pending")))
    assert [rejected.reason for rejected in batch.rejected] == ["invalid"]
    assert batch.forwards == {}


def test_a_batch_that_waits_for_a_status_goes_on_where_it_stopped() -> None:
    """Entries before and after the one whose status is loaded have their effect once, in order."""
    loop = Loop()
    loop.run(*map(entry, life("b", "pending", "waiting")))
    loop.restart()
    batch = loop.run(
        entry(update("a", "pending")),
        entry(b"{"),
        entry(update("b", "running", NOW + 5)),
        entry(update("c", "running", NOW + 5)),
        entry(update("a", "waiting", NOW + 9)),
    )
    assert set(loop.loaded) == {("task", "b"), ("task", "c")}
    assert [change.id for change in batch.changes] == ["a", "b", "a"]
    assert [rejected.reason for rejected in batch.rejected] == ["malformed", "unknown_entity"]
    assert batch.entries == 5


def test_a_status_is_loaded_once() -> None:
    """What a worker knows of a live entity it does not ask the server for again."""
    loop = Loop()
    loop.run(*map(entry, life("a", "pending", "waiting")))
    loop.restart()
    loop.run(entry(update("a", "running", NOW + 6)))
    assert loop.loaded == [("task", "a")]
    loop.run(entry(update("a", "running", NOW + 7)))
    assert loop.loaded == []


def test_a_restart_forgets() -> None:
    """After another owner wrote, statuses are loaded again and not taken from memory."""
    loop = Loop()
    loop.run(*map(entry, life("a", "pending", "waiting")))
    Loop(loop.store).run(entry(update("a", "running", NOW + 5, progress=0.5)))
    loop.restart()
    batch = loop.run(entry(update("a", "failed", NOW + 9)))
    assert loop.loaded == [("task", "a")]
    assert batch.effects["task"].after["a"].progress == 0.5
    assert [change.from_phase for change in batch.changes] == ["running"]


def test_an_entity_that_begins_is_created_optimistically() -> None:
    """A new entity costs no loading; one that has a status already costs a second try."""
    loop = Loop()
    loop.run(entry(update("a", "pending")))
    assert (loop.loaded, loop.store.refused) == ([], 0)
    loop.restart()
    assert loop.run(entry(update("a", "pending"))).duplicates == {"task": 1}
    assert (loop.loaded, loop.store.refused) == ([("task", "a")], 1)


def test_producers_that_repeat_themselves_are_refused_seldom() -> None:
    """After a second try, everything is loaded for as long as it takes to make that one rare."""
    loop = Loop()
    for number in range(PESSIMISTIC_BATCHES):
        loop.restart()
        loop.run(entry(update("a", "pending", NOW + number)))
    assert loop.store.refused == 1


def test_an_update_of_the_future_creates_nothing() -> None:
    """It is rejected, so no commit would find out whether there is a status."""
    loop = Loop()
    loop.run(*map(entry, life("a", "pending", "waiting")))
    loop.restart()
    batch = loop.run(
        entry(update("a", "pending", NOW + 60_001)), entry(update("a", "running", NOW + 9))
    )
    assert [rejected.reason for rejected in batch.rejected] == ["future"]
    assert batch.effects["task"].after["a"].phase == "running"


def test_terminal_entities_are_let_go() -> None:
    """A worker does not fill its memory with entities that are done."""
    loop = Loop()
    loop.run(*map(entry, life("a", *LIFE)), *map(entry, life("b", "pending", "cancelled")))
    loop.run(entry(update("a", "completed")), entry(update("b", "waiting", NOW + 9)))
    assert loop.loaded == [("task", "a")]


def test_a_late_word_of_a_terminal_entity_is_not_kept() -> None:
    """An entity that is done is let go too where it was only loaded for a duplicate."""
    loop = Loop()
    loop.run(*map(entry, life("a", *LIFE)))
    for _ in range(2):
        assert loop.run(entry(update("a", "completed", NOW + 9))).duplicates == {"task": 1}
        assert loop.loaded == [("task", "a")]


@pytest.mark.parametrize("live_statuses", [0, 1, 2])
def test_memory_is_bounded(live_statuses: int) -> None:
    """At most `live_statuses` of each kind stay; the others are loaded again when they come up."""
    loop = Loop(live_statuses=live_statuses)
    ids = ["a", "b", "c", "d"]
    loop.run(*(entry(update(each, "waiting", kind="asset")) for each in ids))
    batch = loop.run(*(entry(update(each, "ready", NOW + 1, "asset")) for each in ids))
    assert len(loop.loaded) == len(ids) - live_statuses
    assert len(batch.changes) == len(ids)


def test_memory_is_bounded_in_bytes() -> None:
    """Long messages are let go, the oldest first, whatever kind they are of; short ones stay."""
    loop = Loop(live_bytes=200_000)
    message = "x" * 50_000
    for entity_id in ("a", "b", "c"):
        loop.run(
            entry(update(entity_id, "pending", errorMessage=message)),
            entry(update(entity_id, "waiting", kind="asset", errorMessage="short")),
        )
    loop.run(entry(update("d", "pending", errorMessage=message)))
    ids = ["a", "b", "c", "d"]
    loop.run(*(entry(update(each, "waiting", NOW + 1)) for each in ids))
    assert loop.loaded == [("task", "a")]
    loop.run(*(entry(update(each, "ready", NOW + 1, "asset")) for each in ids[:3]))
    assert loop.loaded == []


def test_a_corrupt_status_is_looked_at_again() -> None:
    """A key that holds no status rejects updates until it is mended, and no longer."""
    store = MemoryStore()
    store.corrupt["task", "a"] = Corrupt("status:task:a holds no status")
    loop = Loop(store)
    for _ in range(2):
        (rejected,) = loop.run(entry(update("a", "pending"))).rejected
        assert (rejected.reason, rejected.detail) == (
            "corrupt_state",
            "status:task:a holds no status",
        )
    store.corrupt.clear()
    assert loop.run(entry(update("a", "pending"))).changes
