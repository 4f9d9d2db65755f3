"""The time of the test kit, which a test moves on: nothing is patched, nothing is waited for."""

from typing import Any

import pytest
import redis
from msgspec import json
from status_tracker import AsyncEmitter, Emitter
from status_tracker.client.feed import Removal, id_parts
from status_tracker.keys import partition_of
from status_tracker.rules import rules_json
from status_tracker.testing import Kit

HOUR = 3_600_000


def added(kit: Kit) -> list[tuple[int, float]]:
    """Return of each update when its entry was added, and when it says that it was so."""
    client: Any = kit.client
    return [
        (id_parts(entry_id.decode())[0], json.decode(values[b"data"])["updatedAt"])
        for number in range(4)
        for entry_id, values in client.xrange(f"{kit.prefix}:events:{{{number}}}")
    ]


@pytest.mark.parametrize("source", ["url", "client"])
def test_who_emits_goes_by_it(status_tracker: Kit, source: str) -> None:
    """Users' own emitters, too, whatever they say it with, and the entries that they add."""
    status_tracker.clock.advance("2h")
    began = status_tracker.clock.now()
    with Emitter(getattr(status_tracker, source)) as emitter:
        emitter.task("a", "pending")
        emitter.emit_many([{"kind": "task", "id": "b", "phase": "pending"}])
        with emitter.report("c", begin=True) as task:
            task.progress(0.5)
            task.retry("again")
    ended = status_tracker.clock.now()
    found = added(status_tracker)
    assert len(found) == 9
    for entry, said in found:
        assert began <= entry <= ended
        assert began <= said <= ended + 1
    assert status_tracker.rejected == []


@pytest.mark.parametrize("source", ["url", "async_client"])
async def test_who_emits_with_asyncio_goes_by_it(status_tracker: Kit, source: str) -> None:
    """The same with await."""
    status_tracker.clock.advance(2 * HOUR)
    began = status_tracker.clock.now()
    async with AsyncEmitter(getattr(status_tracker, source)) as emitter:
        await emitter.task("a", "pending")
    [(entry, said)] = added(status_tracker)
    assert entry >= began
    assert said >= began


def test_what_was_emitted_before_is_folded_before(status_tracker: Kit) -> None:
    """The time passes after all that the test did until then."""
    status_tracker.emitter.task("a", "pending")
    status_tracker.clock.advance("1h")
    status_tracker.emitter.task("a", "waiting")
    first, second = status_tracker.changes
    client: Any = status_tracker.client
    (one, _), (other, _) = client.xrange("status:changes")
    assert HOUR <= id_parts(other.decode())[0] - id_parts(one.decode())[0] < 2 * HOUR
    assert [first.phase, second.phase] == ["pending", "waiting"]  # type: ignore[union-attr]


def test_scripts_go_by_it(status_tracker: Kit) -> None:
    """What they add has IDs of that time, and they take no stream for one that is far ahead."""
    status_tracker.clock.advance("30d")
    began = status_tracker.clock.now()
    client: Any = status_tracker.client
    wrong = (partition_of("a", 4) + 1) % 4
    data = json.encode({"kind": "task", "id": "a", "phase": "pending", "updatedAt": began})
    client.xadd(f"status:events:{{{wrong}}}", {"data": data})
    status_tracker.emitter.task("a", "completed")
    status_tracker.settle()
    status_tracker.settle()
    streams = ["status:changes", "status:rejected", f"status:events:{{{partition_of('a', 4)}}}"]
    for stream in streams:
        [(last, _)] = client.xrevrange(stream, count=1)
        assert began <= id_parts(last.decode())[0] <= status_tracker.clock.now()
    epochs = [client.hget(f"status:partition:{{{number}}}", "epoch") for number in range(4)]
    assert epochs == [None] * 4
    assert [entry.reason for entry in status_tracker.rejected] == ["unknown_entity"]


def everything(client: Any) -> list[Any]:
    """Return what a server answers to all forms of XADD that there are, with IDs as steps."""
    forms: list[tuple[Any, ...]] = [
        ("XADD", "s", "NOMKSTREAM", "*", "f", "v"),
        ("XADD", "s", "*", "*", "*"),
        ("xadd", "s", "MAXLEN", "~", "5", "LIMIT", "3", "*", "f", "v"),
        ("XADD", "s", "MINID", "=", "0-1", "*", "f", "v"),
        ("XADD", "s", "maxlen", "2", "*", "f", "v"),
        ("XADD", "s", "1-1", "*", "v"),
        ("XADD", "text", "*", "f", "v"),
        ("XADD", "s", "99999999999999-7", "f", "v"),
        ("XADD", "s", "*", "f", "v"),
    ]
    client.set("text", "v")
    answers: list[Any] = []
    for form in forms:
        try:
            answer = client.execute_command(*form)
        except redis.ResponseError as error:
            answers.append(str(error))
        else:
            is_by_the_clock = answer is not None and answer < b"99999999999999"
            answers.append("by the clock" if is_by_the_clock else answer)
    return [*answers, [values for _, values in client.xrange("s")]]


def test_commands_answer_as_ever(status_tracker: Kit) -> None:
    """But for the time, they are those of the server."""
    client: Any = status_tracker.client
    before = everything(client)
    assert before[:6].count("by the clock") == 4
    assert b"99999999999999-8" in before
    client.delete("s")
    status_tracker.clock.advance("1d")
    began = status_tracker.clock.now()
    assert everything(client) == before
    seconds, microseconds = client.time()
    assert began <= seconds * 1000 + microseconds // 1000 <= status_tracker.clock.now()


@pytest.mark.parametrize(
    ("by", "says"), [("5 minutes", "write"), ("-5m", "write"), (-1, "does not go back")]
)
def test_what_is_no_duration_is_refused(status_tracker: Kit, by: str | int, says: str) -> None:
    """In words, and no time passes."""
    before = status_tracker.clock.now()
    with pytest.raises(ValueError, match=says):
        status_tracker.clock.advance(by)
    assert status_tracker.clock.now() - before < HOUR


def stalled(kit: Kit) -> list[str]:
    """Return the tasks that are marked."""
    return [*kit.reader.stalled("task").entities]


def begin(kit: Kit, entity_id: str) -> None:
    """Have a task run."""
    for phase in ("pending", "waiting", "running"):
        kit.emitter.task(entity_id, phase)


def test_silence_is_noticed(status_tracker: Kit) -> None:
    """When the limit has passed, not before; an update takes the mark away, and begins anew."""
    begin(status_tracker, "a")
    status_tracker.clock.advance("4m")
    status_tracker.emitter.task("a", "running", progress=0.5)
    status_tracker.clock.advance("4m")
    assert stalled(status_tracker) == []
    status_tracker.clock.advance("1m")
    [found] = status_tracker.reader.stalled("task").entities.values()
    assert found.since == int(found.status.updated_at + 5 * 60_000)
    status_tracker.emitter.task("a", "running", progress=0.6)
    status_tracker.settle()
    assert stalled(status_tracker) == []


def test_an_update_that_comes_late_is_no_silence(status_tracker: Kit) -> None:
    """A producer whose clock is behind is heard when its update comes."""
    begin(status_tracker, "a")
    status_tracker.clock.advance("4m")
    behind = status_tracker.clock.now() - 3 * 60_000
    status_tracker.emitter.task("a", "running", progress=0.5, updated_at=behind)
    status_tracker.clock.advance("4m")
    assert stalled(status_tracker) == []
    status_tracker.clock.advance("2m")
    assert stalled(status_tracker) == ["a"]


async def test_what_follows_from_silence_is_done_at_once(status_tracker: Kit) -> None:
    """In one step through time one thing leads to another, in a loop of asyncio, too."""
    task = table(status_tracker, "task")
    task |= {"on_stalled": "failed", "stalled": {"running": "5m"}, "retention": {"failed": "1h"}}
    status_tracker.rules(task=task)
    begin(status_tracker, "a")
    status_tracker.clock.advance("30m")
    status = status_tracker.task("a")
    assert status is not None
    assert (status.phase, status.error_message) == ("failed", "no update for 5m while running")
    begin(status_tracker, "b")
    status_tracker.clock.advance("2h")
    assert status_tracker.task("a") is status_tracker.task("b") is None
    assert status_tracker.changes[-1] in (Removal("task", "a"), Removal("task", "b"))
    assert status_tracker.phases("b") == ["pending", "waiting", "running", "failed"]


def test_entries_are_trimmed(status_tracker: Kit) -> None:
    """As workers do after an hour; what is left can be repeated."""
    begin(status_tracker, "a")
    status_tracker.clock.advance("2h")
    status_tracker.emitter.task("a", "completed")
    status_tracker.clock.advance("1m")
    assert len(added(status_tracker)) == 1
    status_tracker.redeliver()


def table(kit: Kit, kind: str) -> dict[str, Any]:
    """Return the table of a kind, as the file has it."""
    rules: dict[str, Any] = json.decode(rules_json(kit.reader.rules()))
    found: dict[str, Any] = rules[kind]
    return found
