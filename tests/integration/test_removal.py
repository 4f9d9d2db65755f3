"""Entries that take entities away, on real servers."""

import json

import pytest
from status_tracker.removal import MOST
from status_tracker.testing.line import Line

from tests.events import NOW, id_in, update
from tests.integration.test_commit import MakeLine, everything, fill
from tests.integration.test_history import RULES_WITH_HISTORY
from tests.servers import Redis

PARTITION, EVENTS = "status:partition:{0}", "status:events:{0}"
TASK, OTHER = id_in(0), id_in(0, prefix="other")
STATUS, HISTORY = f"status:task:{TASK}", f"status:history:task:{TASK}"


@pytest.fixture
async def ready(line: MakeLine, redis_client: Redis) -> Line:
    """A line with one task that waits, and one that is pending."""
    one: Line = line(rules=RULES_WITH_HISTORY)
    await one.attach()
    fill(
        redis_client,
        EVENTS,
        update(TASK, "pending"),
        update(TASK, "waiting", NOW + 1),
        update(OTHER, "pending"),
    )
    await one.turn()
    return one


def remove(client: Redis, value: object) -> None:
    """Add an entry that takes entities away."""
    client.xadd(EVENTS, {"remove": value if isinstance(value, str | bytes) else json.dumps(value)})


async def test_all_of_an_entity_goes_in_one_commit(ready: Line, redis_client: Redis) -> None:
    """Status, index, count and history; the feed says so, and the entry counts as applied."""
    remove(redis_client, [["task", TASK]])
    batch = await ready.turn()
    assert (batch.applied, sum(batch.duplicates.values())) == (1, 0)
    assert not redis_client.exists(STATUS, HISTORY, "status:phase:task:waiting")
    assert redis_client.hgetall("status:counts:task") == {"waiting": "0", "pending": "1"}
    [(_, last)] = redis_client.xrevrange("status:changes", count=1)
    assert {name: json.loads(value) for name, value in last.items()} == {
        "removed": [["task", TASK]]
    }
    assert redis_client.hmget(PARTITION, "entries", "applied") == ["4", "4"]
    fill(redis_client, EVENTS, update(TASK, "waiting", NOW + 2), update(TASK, "pending", NOW + 3))
    [rejected] = (await ready.turn()).rejected
    assert rejected.reason == "unknown_entity"
    assert "it may have been removed" in rejected.detail
    assert json.loads(redis_client.get(STATUS) or "")["phase"] == "pending"
    assert redis_client.llen(HISTORY) == 1


@pytest.mark.parametrize(
    ("condition", "goes"),
    [
        ([], True),
        ([NOW + 1, "waiting"], True),
        ([float(NOW + 1), "waiting"], True),
        ([NOW, "waiting"], False),
        ([NOW + 1, "pending"], False),
    ],
)
async def test_what_changed_meanwhile_stays(
    ready: Line, redis_client: Redis, condition: list[object], *, goes: bool
) -> None:
    """With a time and a phase, it takes away only a status that has both."""
    before = redis_client.get(STATUS)
    remove(redis_client, [["task", TASK, *condition]])
    batch = await ready.turn()
    assert (batch.applied, sum(batch.duplicates.values())) == (int(goes), int(not goes))
    assert redis_client.get(STATUS) == (None if goes else before)


async def test_a_repeat_is_a_duplicate(ready: Line, redis_client: Redis) -> None:
    """Of several in one entry, those that are there go; again, none does."""
    wanted = [["task", TASK], ["task", TASK], ["asset", TASK], ["gone_kind", TASK]]
    for applied in (1, 0):
        remove(redis_client, wanted)
        assert (await ready.turn()).applied == applied
    assert redis_client.xlen("status:changes") == 4


async def test_a_kind_that_the_rules_do_not_have(ready: Line, redis_client: Redis) -> None:
    """What a kind left that was dropped can be taken away, too."""
    redis_client.set(f"status:export:{TASK}", '{"phase":"done","updatedAt":1700000000000}')
    redis_client.zadd("status:phase:export:done", {TASK: NOW})
    remove(redis_client, [["export", TASK]])
    assert (await ready.turn()).applied == 1
    assert not redis_client.exists(f"status:export:{TASK}", "status:phase:export:done")


async def test_a_status_that_somebody_wrote_otherwise(ready: Line, redis_client: Redis) -> None:
    """It is compared as it stands there."""
    redis_client.set(STATUS, '{ "phase": "waiting", "updatedAt": 1.7e12 }')
    remove(redis_client, [["task", TASK, 1.7e12, "waiting"]])
    assert (await ready.turn()).applied == 1
    assert not redis_client.exists(STATUS)


WRONG = {
    "no JSON": b"[",
    "no list": b"{}",
    "no entity": b'["task"]',
    "no kind": b'[["Task","x"]]',
    "part of a key": f'[["phase","{TASK}"]]'.encode(),
    "no id": b'[["task","a b"]]',
    "other partition": f'[["task","{id_in(1)}"]]'.encode(),
    "a time alone": f'[["task","{TASK}",1700000000001]]'.encode(),
    "null for a time": f'[["task","{TASK}",null]]'.encode(),
    "nulls": f'[["task","{TASK}",null,null]]'.encode(),
    "too much": f'[["task","{TASK}",1700000000001,"waiting",1]]'.encode(),
    "seconds": f'[["task","{TASK}",1700000000,"waiting"]]'.encode(),
    "no text": b'[["task","\xff"]]',
    "deep": b"[" * 5_000,
    "too many": json.dumps([["task", TASK]] * (MOST + 1)).encode(),
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
async def test_what_is_not_of_that_form(ready: Line, redis_client: Redis, value: bytes) -> None:
    """It is kept with what is wrong, and takes nothing away."""
    remove(redis_client, value)
    [rejected] = (await ready.turn()).rejected
    assert (rejected.reason, rejected.data) == ("invalid", value)
    assert rejected.detail.startswith("remove: ")
    assert redis_client.exists(STATUS)


async def test_too_large(ready: Line, redis_client: Redis) -> None:
    """The limit on an entry's size holds for it."""
    remove(redis_client, b" " * 70_000)
    [rejected] = (await ready.turn()).rejected
    assert (rejected.reason, len(rejected.data)) == ("oversized", 65_536)


async def test_a_status_that_changes_before_the_commit(ready: Line, redis_client: Redis) -> None:
    """Then nothing is written: it is looked at again."""
    remove(redis_client, [["task", TASK]])
    batch = await ready.fold()
    redis_client.set(STATUS, '{"phase":"waiting","retries":0,"updatedAt":1700000000009}')
    before = everything(redis_client)
    with pytest.raises(Exception, match=STATUS):
        await ready.store.commit(batch)
    assert everything(redis_client) == before


async def test_a_thousand_at_once(ready: Line, redis_client: Redis) -> None:
    """The most that one entry may have."""
    ids = [id_in(0, prefix=f"many-{number}") for number in range(MOST)]
    fill(redis_client, EVENTS, *(update(each, "pending") for each in ids))
    await ready.turn()
    remove(redis_client, [["task", each, NOW, "pending"] for each in ids])
    assert (await ready.turn()).applied == 1
    assert redis_client.hget("status:counts:task", "pending") == "1"
    assert redis_client.exists(*(f"status:task:{each}" for each in ids)) == 0
