"""Rules change: each partition takes a revision up at its cursor, and never goes back."""

import json

import pytest
import redis
from status_tracker.lua.commit import CursorMovedError
from status_tracker.rules import Rules, parse_rules, rules_json

from tests.events import NOW, id_in, update
from tests.integration.test_commit import MakeLine, everything, fill
from tests.line import RULES
from tests.servers import Redis

PARTITION, EVENTS = "status:partition:{0}", "status:events:{0}"


def with_task(**changes: object) -> Rules:
    """Return the shipped rules with some keys of `[task]` changed."""
    found = json.loads(rules_json(RULES))
    found["task"] |= changes
    return parse_rules(found)


WITHOUT_WAITING = with_task(
    phases=["pending", "running", "failed", "completed"],
    settled=["completed"],
    transitions={"pending": ["running"], "running": ["completed", "failed"]},
    retries={"failed": ["pending"]},
    restarts={},
    stalled={},
    retention={},
)


async def test_a_revision_is_taken_up_at_the_cursor(line: MakeLine, redis_client: Redis) -> None:
    """From which entry on the rules changed can be told afterwards, for a replay."""
    one = line()
    await one.attach()
    [first] = fill(redis_client, EVENTS, update(id_in(0), "pending"))
    await one.turn()
    later = line(revision=3)
    await later.attach()
    await later.attach()
    fill(redis_client, EVENTS, update(id_in(0), "waiting", NOW + 1))
    await later.turn()
    await later.attach()
    fields = redis_client.hgetall(PARTITION)
    found = {name: value for name, value in fields.items() if name.startswith("revision")}
    assert found == {"revision": "3", "revision:1": "0-0", "revision:3": first}


async def test_nobody_goes_back_to_older_rules(line: MakeLine, redis_client: Redis) -> None:
    """Of an owner with older rules and one with newer, the older is told, and writes nothing."""
    older, newer = line(revision=1), line(revision=2)
    await older.attach()
    fill(redis_client, EVENTS, update(id_in(0), "pending"))
    batch = await older.fold()
    await newer.attach()
    before = everything(redis_client)
    with pytest.raises(CursorMovedError):
        await older.store.commit(batch)
    with pytest.raises(redis.ResponseError, match=r"partition:\{0\} goes by revision 2 .* after 1"):
        await older.attach()
    assert everything(redis_client) == before
    await newer.turn()
    assert redis_client.exists(f"status:task:{id_in(0)}")


async def test_a_stream_that_is_another_one_begins_by_the_rules_in_force(
    line: MakeLine, redis_client: Redis
) -> None:
    """Its entries come before those at which the revisions were taken up in the old one."""
    one, two = line(revision=1), line(revision=2)
    await one.attach()
    fill(redis_client, EVENTS, update(id_in(0), "pending"))
    await one.turn()
    await two.attach()
    redis_client.delete(EVENTS)
    redis_client.xadd(EVENTS, {"data": "bad"}, id="7-1")
    await two.attach()
    found = redis_client.hmget(PARTITION, "cursor", "revision", "revision:1", "revision:2")
    assert found == ["0-0", "2", "0-0", "0-0"]


async def test_a_status_in_a_phase_that_is_gone_is_kept(
    line: MakeLine, redis_client: Redis
) -> None:
    """A later revision has no such phase: no way leads out of it but `force`."""
    task = id_in(0)
    key = f"status:task:{task}"
    one = line()
    await one.attach()
    fill(redis_client, EVENTS, update(task, "pending"), update(task, "waiting", NOW + 1))
    await one.turn()
    held = redis_client.get(key)
    two = line(rules=WITHOUT_WAITING, revision=2)
    await two.attach()
    fill(
        redis_client,
        EVENTS,
        update(task, "running", NOW + 2),
        update(task, "waiting", NOW + 3, progress=0.5),
    )
    batch = await two.turn()
    assert [each.reason for each in batch.rejected] == ["illegal_transition", "invalid"]
    assert redis_client.get(key) == held
    assert redis_client.zrange("status:phase:task:waiting", 0, -1) == [task]
    fill(redis_client, EVENTS, update(task, "running", NOW + 4, force=True))
    await two.turn()
    assert json.loads(redis_client.get(key) or "")["phase"] == "running"
    assert redis_client.hgetall("status:counts:task") == {"waiting": "0", "running": "1"}


async def test_retries_that_begin_to_be_counted(line: MakeLine, redis_client: Redis) -> None:
    """A status that says nothing of retries has had none; one whose kind counts none loses it."""
    plain = with_task(retries={}, restarts={"failed": ["pending"]}, max_retries=None)
    task = id_in(0)
    one = line(rules=plain)
    await one.attach()
    fill(redis_client, EVENTS, update(task, "pending"), update(task, "failed", NOW + 1))
    await one.turn()
    assert "retries" not in json.loads(redis_client.get(f"status:task:{task}") or "")
    two = line(revision=2)
    await two.attach()
    fill(redis_client, EVENTS, update(task, "waiting", NOW + 2))
    await two.turn()
    assert json.loads(redis_client.get(f"status:task:{task}") or "")["retries"] == 1
    three = line(rules=plain, revision=3)
    await three.attach()
    fill(redis_client, EVENTS, update(task, "running", NOW + 3))
    await three.turn()
    assert "retries" not in json.loads(redis_client.get(f"status:task:{task}") or "")
