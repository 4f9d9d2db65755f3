"""The last changes of each entity, on real servers: in the commit's one step, or not at all."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis
from status_tracker.lua.commit import CursorMovedError
from status_tracker.testing.line import Line

from tests.events import NOW, id_in, update
from tests.integration.test_commit import everything, fill
from tests.line import RULES
from tests.servers import Redis

MakeLine = Callable[..., Line]

KEPT = 3
RULES_WITH_HISTORY = msgspec.structs.replace(RULES, history=KEPT)
LIFE = ["pending", "waiting", "running", "waiting", "running"]
TASK = id_in(0)


def life(begin: int, end: int) -> list[bytes]:
    """Return updates from a life, a millisecond apart, each after the other."""
    return [update(TASK, LIFE[number], NOW + number) for number in range(begin, end)]


def changes_in(client: Redis, key: str) -> list[Any]:
    """Return what a history holds."""
    return list(map(json.loads, client.lrange(key, 0, -1)))


def feed_of(client: Redis, key: str) -> list[Any]:
    """Return what a change feed holds, newest first."""
    return [json.loads(fields["data"]) for _, fields in reversed(client.xrange(key))]


@pytest.mark.parametrize("cuts", [[5], [1, 5], [2, 4, 5], [1, 2, 3, 4, 5]])
async def test_the_last_changes_newest_first(
    line: MakeLine, redis_client: Redis, cuts: list[int]
) -> None:
    """However the entries are cut into batches, it is the end of the change feed, as it stands."""
    one = line(rules=RULES_WITH_HISTORY)
    await one.attach()
    for begin, end in zip([0, *cuts], cuts, strict=False):
        fill(redis_client, one.own.events, *life(begin, end))
        await one.turn()
        feed = feed_of(redis_client, one.own.changes)
        assert changes_in(redis_client, f"status:history:task:{TASK}") == feed[:KEPT]
    assert [change["phase"] for change in feed] == LIFE[::-1]


async def test_only_a_change_is_kept(line: MakeLine, redis_client: Redis) -> None:
    """A heartbeat and what is not applied leave no trace; kinds that share an id have their own."""
    one = line(rules=RULES_WITH_HISTORY)
    await one.attach()
    fill(
        redis_client,
        one.own.events,
        *life(0, 3),
        update(TASK, "running", NOW + 9, progress=0.5),
        update(TASK, "pending", NOW + 10),
        update(TASK, "uploading", NOW, "asset"),
        update(TASK, "deleted", NOW + 11, "asset", force=True),
    )
    await one.turn()
    phases = {
        key: [(change["phase"], change.get("forced")) for change in changes_in(redis_client, key)]
        for key in redis_client.keys("status:history:*")
    }
    assert phases == {
        f"status:history:task:{TASK}": [("running", None), ("waiting", None), ("pending", None)],
        f"status:history:asset:{TASK}": [("deleted", True), ("uploading", None)],
    }


async def test_without_history_there_is_none(line: MakeLine, redis_client: Redis) -> None:
    """A deployment that asks for none pays for none."""
    one = line()
    await one.attach()
    fill(redis_client, one.own.events, *life(0, 3))
    await one.turn()
    assert redis_client.xlen(one.own.changes) == 3
    assert redis_client.keys("status:history:*") == []


async def test_the_cluster_layout_tags_it(line: MakeLine, redis_client: Redis) -> None:
    """It lies in its partition's slot: or a commit could not write it on a cluster."""
    one = line(rules=RULES_WITH_HISTORY, layout="cluster")
    await one.attach()
    fill(redis_client, one.own.events, *life(0, 1))
    await one.turn()
    assert redis_client.keys("status:history:*") == [f"status:history:{{0}}:task:{TASK}"]


async def test_a_key_of_another_type_is_in_the_way(line: MakeLine, redis_client: Redis) -> None:
    """The commit is refused, with the key's name, before its first write, and done once it went."""
    one = line(rules=RULES_WITH_HISTORY)
    await one.attach()
    fill(redis_client, one.own.events, *life(0, 3))
    key = f"status:history:task:{TASK}"
    redis_client.set(key, "in the way")
    before = everything(redis_client)
    with pytest.raises(redis.ResponseError, match=f"{key} holds a string"):
        await one.turn()
    assert everything(redis_client) == before

    redis_client.delete(key)
    await one.attach()
    await one.turn()
    assert len(changes_in(redis_client, key)) == 3


async def test_a_refused_commit_keeps_nothing(line: MakeLine, redis_client: Redis) -> None:
    """Of two owners, one commits: no change is in the list twice."""
    slow, fast = line(rules=RULES_WITH_HISTORY), line(rules=RULES_WITH_HISTORY)
    await slow.attach()
    await fast.attach()
    fill(redis_client, slow.own.events, *life(0, 2))
    held_up = await slow.fold()
    await fast.turn()
    before = everything(redis_client)
    with pytest.raises(CursorMovedError):
        await slow.store.commit(held_up)
    assert everything(redis_client) == before
    assert len(changes_in(redis_client, f"status:history:task:{TASK}")) == 2


async def test_more_changes_than_lua_unpacks_at_once(line: MakeLine, redis_client: Redis) -> None:
    """A batch with thousands of changes of one entity fills a long list in order."""
    one = line(rules=msgspec.structs.replace(RULES, history=10_000))
    await one.attach()
    pipeline = redis_client.pipeline(transaction=False)
    count = 9_000
    for number in range(count):
        phase = ("pending", "cancelled")[number % 2]
        pipeline.xadd(one.own.events, {"data": update(TASK, phase, NOW + number)})
    pipeline.execute()
    await one.turn()
    key = f"status:history:task:{TASK}"
    assert changes_in(redis_client, key) == feed_of(redis_client, one.own.changes)
    assert redis_client.llen(key) == count
