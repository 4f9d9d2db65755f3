"""The logic of an emitter, without a server: what it sends, and what it sends again."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions
from status_tracker import BacklogError, ConfigError, UnavailableError, UpdateError
from status_tracker.client.emitting import BATCH, Emitting, Options
from status_tracker.client.operations import Pause
from status_tracker.client.updates import fields_of
from status_tracker.rules import Rules

from tests.events import id_in, update
from tests.unit.driving import DEPLOYMENT, KnownSite, Streams, driven

LOST = exceptions.ConnectionError("the connection is gone")


def emitting(site: KnownSite | None = None, **options: Any) -> Emitting:
    """Return an emitter's logic."""
    given = {"retry_for": 5, "max_backlog": None, "backlog_timeout": 0, "wait_replicas": 0}
    return Emitting(site or KnownSite(), Options(**{**given, **options}))  # type: ignore[arg-type]


def updates(count: int) -> Iterator[dict[str, str]]:
    """Yield updates of as many tasks."""
    return ({"kind": "task", "id": f"t-{number}", "phase": "pending"} for number in range(count))


def test_many_go_in_few_pipelines() -> None:
    """Some thousands in a round trip, and whoever waits is told after each."""
    streams, told = Streams(), list[int]()
    sent = driven(emitting().emit_many(updates(2 * BATCH + 1), told.append), streams.answer)
    assert (sent, told) == (2 * BATCH + 1, [BATCH, 2 * BATCH, 2 * BATCH + 1])
    assert len(streams.data()) == sent
    assert len(streams.asked) == 3


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.data())
def test_what_a_lost_connection_added_is_not_sent_again(ids: list[int], data: Any) -> None:
    """Of a pipeline that is lost in its middle, each update is in its stream once, in order."""
    streams = Streams()
    done = data.draw(st.integers(0, len(ids)), label="commands that the server still did")
    told = data.draw(st.integers(0, done), label="replies that arrived")

    def lose(commands: list[Any]) -> list[Any]:
        replies = [streams.reply(command) for command in commands[:done]]
        return replies[:told] + [LOST] * (len(commands) - told)

    streams.faults.append(lose)
    given = [{"kind": "task", "id": str(each), "phase": "pending"} for each in ids]
    driven(emitting().emit_many(given, None), streams.answer)
    assert sorted(msgspec.json.decode(each)["id"] for each in streams.data()) == sorted(
        str(each) for each in ids
    )
    for entries in streams.entries.values():
        times = [msgspec.json.decode(data)["updatedAt"] for _, data in entries]
        assert times == sorted(set(times))


def test_another_thread_s_updates_hide_none() -> None:
    """What it added meanwhile stands after the lost one, which is looked for from further back."""
    streams, shared = Streams(), emitting()
    driven(shared.emit(fields_of("task", "a", "pending")), streams.answer)
    lost = shared.emit(fields_of("task", "a", "waiting"))
    streams.answer(next(lost))  # it is done, and the reply is on its way
    driven(shared.emit(fields_of("task", "a", "running")), streams.answer)
    pause = lost.send([LOST])
    assert isinstance(pause, Pause)
    with pytest.raises(StopIteration) as done:
        lost.send(streams.answer(lost.send(None)))
    assert done.value.value == "2-0"
    assert len(streams.data()) == 3


def test_what_cannot_be_looked_for_is_sent_again() -> None:
    """A producer that may only write sends it twice, which is a duplicate."""
    streams = Streams()
    refused = exceptions.NoPermissionError("NOPERM no XREVRANGE")

    def lose(commands: list[Any]) -> list[Any]:
        for command in commands:
            streams.reply(command)
        return [LOST] * len(commands)

    streams.faults += [lose, lambda commands: [refused] * len(commands)]
    driven(emitting().emit(fields_of("task", "a", "pending")), streams.answer)
    [first, again] = streams.data()
    assert first == again


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (LOST, UnavailableError),
        (exceptions.ResponseError("OOM command not allowed"), UnavailableError),
        (exceptions.AuthenticationError("WRONGPASS"), ConfigError),
    ],
)
def test_a_server_that_cannot_be_used_is_told_of(error: Exception, raised: type[Exception]) -> None:
    """After the time that was given, or at once where waiting mends nothing."""

    def answer(commands: list[Any]) -> list[Any]:
        return [error] * len(commands)

    with pytest.raises(raised):
        driven(emitting(retry_for=0).emit(fields_of("task", "a", "pending")), answer)


def test_a_failover_is_waited_out() -> None:
    """A server that says that it is a replica did nothing: so nothing is looked for."""
    streams = Streams()
    streams.faults.append(lambda commands: [exceptions.ReadOnlyError("READONLY")] * len(commands))
    driven(emitting().emit(fields_of("task", "a", "pending")), streams.answer)
    assert [command[0] for command in streams.sent()] == ["XADD", "XADD"]


def test_the_rules_are_read_again_before_anything_is_refused() -> None:
    """A phase that came with the last revision is sent by an emitter that knew the one before."""
    site = KnownSite()
    task = DEPLOYMENT.rules.kinds["task"]
    newer = msgspec.structs.replace(task, phases=(*task.phases, "paused"))
    rules: Rules = msgspec.structs.replace(DEPLOYMENT.rules, kinds={"task": newer})
    site.current = msgspec.structs.replace(DEPLOYMENT, rules=rules, revision=2)
    streams = Streams()
    given = [
        {"kind": "task", "id": "a", "phase": "pending"},
        {"kind": "task", "id": "b", "phase": "paused"},
        {"kind": "task", "id": "c", "phase": "paused"},
    ]
    assert driven(emitting(site).emit_many(given, None), streams.answer) == 3
    with pytest.raises(UpdateError, match=r"phase: .*must be .*paused"):
        driven(emitting(site).emit(fields_of("task", "a", "encoding")), streams.answer)


def test_those_before_a_refused_one_are_sent() -> None:
    """And the error counts, so that a producer knows where to go on."""
    streams = Streams()
    given = [*updates(3), {"kind": "task", "id": "x", "phase": "encoding"}, *updates(3)]
    with pytest.raises(UpdateError, match="update 4: phase"):
        driven(emitting().emit_many(given, None), streams.answer)
    assert len(streams.data()) == 3


def test_what_the_iterable_raises_is_raised() -> None:
    """After what it had yielded was sent."""

    def broken() -> Iterator[dict[str, str]]:
        yield from updates(2)
        raise OSError("no such file")

    streams = Streams()
    with pytest.raises(OSError, match="no such file"):
        driven(emitting().emit_many(broken(), None), streams.answer)
    assert len(streams.data()) == 2


def lose(streams: Streams, *, done: bool) -> None:
    """Lose the connection in the next pipeline that adds something, before or after it is done."""

    def fault(commands: list[Any]) -> list[Any]:
        if commands[0][0] != "XADD":
            streams.faults.insert(0, fault)
            return list(map(streams.reply, commands))
        if done:
            list(map(streams.reply, commands))
        return [LOST] * len(commands)

    streams.faults.append(fault)


@pytest.mark.parametrize("done", [True, False])
def test_a_removal_is_added_once(*, done: bool) -> None:
    """An earlier one of the same bytes is not taken for one that a lost connection did not add."""
    streams = Streams()
    ids = [id_in(number) for number in range(4)]
    assert driven(emitting().remove("task", ids), streams.answer) == 4
    # The entity comes back, and a second emitter removes it again.
    for each in ids:
        streams.reply(
            ("XADD", f"status:events:{{{ids.index(each)}}}", "*", "data", update(each, "x"))
        )
    lose(streams, done=done)
    assert driven(emitting().remove("task", ids), streams.answer) == 4
    for number, each in enumerate(ids):
        [first, _, second] = streams.entries[f"status:events:{{{number}}}"]
        assert first[1] == second[1] == b'[["task","%b"]]' % each.encode()
        assert streams.fields[second] == b"remove"


def test_who_may_only_write_removes_too() -> None:
    """Where the streams end cannot be known then, nor looked for after a lost connection."""
    streams = Streams()
    refused = exceptions.NoPermissionError("NOPERM no XREVRANGE")
    streams.faults.append(lambda commands: [refused] * len(commands))
    assert driven(emitting().remove("task", ["a"]), streams.answer) == 1
    assert len(streams.data()) == 1


@pytest.mark.parametrize(
    ("kind", "ids", "says"),
    [
        ("job", ["a"], "kind: job; must be task or asset"),
        ("task", ["a", "b c"], "id: 'b c'; must be text"),
        ("task", ["a", ""], "id: ''; must be text"),
    ],
)
def test_what_cannot_be_removed(kind: str, ids: list[str], says: str) -> None:
    """Nothing is sent, neither what is before it."""
    streams = Streams()
    with pytest.raises(UpdateError, match=says):
        driven(emitting().remove(kind, ids), streams.answer)
    assert streams.asked == []


def test_an_id_for_a_list_of_ids() -> None:
    """Text is a sequence, too: of characters, which are ids that there may be."""
    with pytest.raises(TypeError, match="'abc' is text"):
        driven(emitting().remove("task", "abc"), Streams().answer)


def test_replicas_are_waited_for_on_the_same_connection() -> None:
    """One WAIT for each stream, right after what was added to it."""
    streams = Streams()
    given = [
        {"kind": "task", "id": id_in(number), "phase": "pending"} for number in (0, 1, 0, 1, 1)
    ]
    driven(emitting(wait_replicas=1).emit_many(given, None), streams.answer)
    assert [command[0] for command in streams.sent()] == [
        *["XADD"] * 2,
        "WAIT",
        *["XADD"] * 3,
        "WAIT",
    ]
    streams.replicas = 0
    with pytest.raises(UnavailableError, match="added, but 0 of 1 replicas"):
        driven(emitting(wait_replicas=1).emit(fields_of("task", "a", "pending")), streams.answer)


def test_a_backlog_that_is_too_long_is_refused_or_waited_out() -> None:
    """And where there is room, it is not looked at again for each update."""
    streams = Streams()
    streams.lag = 10
    fields = fields_of("task", "a", "pending")
    with pytest.raises(BacklogError, match=r"has 10 unread entries, and max_backlog is 10"):
        driven(emitting(max_backlog=10).emit(fields), streams.answer)
    assert streams.data() == []

    def drained(commands: list[Any]) -> list[Any]:
        replies = list(map(streams.reply, commands))
        streams.lag = 0
        return replies

    streams.faults.append(drained)
    patient = emitting(max_backlog=10, backlog_timeout=5)
    for _ in range(3):
        driven(patient.emit(fields), streams.answer)
    assert [command[0] for command in streams.sent()[1:]] == ["XINFO"] * 2 + ["XADD"] * 3
