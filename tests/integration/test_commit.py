"""The commit script on real servers: everything in one step, or nothing."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from status_tracker.lua.commit import CursorMovedError, StatusChangedError
from status_tracker.testing.line import Line

from tests.events import NOW, id_in, update
from tests.servers import Redis

MakeLine = Callable[..., Line]


def everything(client: Redis) -> dict[str, Any]:
    """Return the whole database: each key with its value as the server would restore it."""
    return {key: client.dump(key) for key in sorted(client.keys())}


def fill(client: Redis, stream: str, *updates: bytes) -> list[str]:
    """Add entries to a stream; return their IDs."""
    return [str(client.xadd(stream, {"data": data})) for data in updates]


async def test_writes_everything_of_a_batch(line: MakeLine, redis_client: Redis) -> None:
    """Status, index, counts, feed, rejection, forward, cursor and group all move in one commit."""
    one = line()
    await one.attach()
    task, elsewhere = id_in(0), id_in(2)
    ids = fill(
        redis_client,
        one.own.events,
        update(task, "pending"),
        update(task, "waiting", NOW + 1),
        update(elsewhere, "pending"),
        b"\xff\x00 no JSON",
    )
    await one.turn()

    document = {"phase": "waiting", "retries": 0, "updatedAt": NOW + 1}
    assert redis_client.get(f"status:task:{task}") == json.dumps(document, separators=(",", ":"))
    assert redis_client.zrange("status:phase:task:waiting", 0, -1, withscores=True) == [
        (task, NOW + 1)
    ]
    assert not redis_client.exists("status:phase:task:pending")
    counts = redis_client.hgetall("status:counts:task")
    assert {phase: int(count) for phase, count in counts.items()} == {"waiting": 1}
    changes = [json.loads(fields["data"]) for _, fields in redis_client.xrange("status:changes")]
    assert changes == [
        {"phase": "pending", "retries": 0, "updatedAt": NOW, "kind": "task", "id": task}
        | {"event": ids[0]},
        {**document, "kind": "task", "id": task, "from": "pending", "event": ids[1]},
    ]
    [(_, rejected)] = redis_client.xrange("status:rejected")
    assert rejected["data"].encode(errors="surrogateescape") == b"\xff\x00 no JSON"
    assert rejected["reason"] == "malformed"
    assert (rejected["stream"], rejected["id"]) == ("status:events:{0}", ids[3])
    [(_, forwarded)] = redis_client.xrange("status:events:{2}")
    data = update(elsewhere, "pending").decode()
    assert forwarded == {"data": data, "from": f"0/{ids[2]}"}
    assert redis_client.hgetall("status:partition:{0}") == {
        "cursor": ids[3],
        "entries": "4",
        "applied": "2",
        "forwarded": "1",
        "rejected:malformed": "1",
        "revision": "1",
        "revision:1": "0-0",
    }
    [group] = redis_client.xinfo_groups("status:events:{0}")
    assert (group["name"], group["last-delivered-id"], group["lag"]) == ("tracker", ids[3], 0)
    assert group["entries-read"] == 4


async def test_a_moved_cursor_changes_nothing(line: MakeLine, redis_client: Redis) -> None:
    """A batch read from a cursor that moved leaves every key as it was, and is told the cursor."""
    slow, fast = line(), line()
    await slow.attach()
    await fast.attach()
    fill(redis_client, slow.own.events, update(id_in(0), "pending"), b"bad", update("x", "pending"))
    held_up = await slow.fold()
    await fast.turn()
    before = everything(redis_client)

    with pytest.raises(CursorMovedError, match=fast.cursor):
        await slow.store.commit(held_up)
    assert everything(redis_client) == before


async def test_of_two_racing_stores_one_is_told(line: MakeLine, redis_client: Redis) -> None:
    """However two owners race, each batch takes effect once."""
    racers = [line(), line()]
    for racer in racers:
        await racer.attach()
    task = id_in(0)
    fill(redis_client, racers[0].own.events, update(task, "pending"), update(task, "waiting"))
    fill(redis_client, racers[0].own.events, update(task, "running"))
    for number in range(1, 4):
        at = NOW + number
        fill(redis_client, racers[0].own.events, update(task, "waiting", at))
        fill(redis_client, racers[0].own.events, update(task, "running", at))

    async def drain(racer: Line) -> int:
        told = 0
        while True:
            try:
                if not await racer.store.read(racer.cursor, count=1, block=1):
                    return told
                await racer.turn(count=1)
            except CursorMovedError:
                told += 1
                await racer.attach()

    told = await asyncio.gather(*map(drain, racers))
    assert sum(told) > 0, "they never met: the race proves nothing"
    assert json.loads(str(redis_client.get(f"status:task:{task}")))["retries"] == 3
    assert redis_client.xlen("status:changes") == 9
    assert redis_client.hget("status:partition:{0}", "entries") == "9"


async def test_a_missing_hash_is_a_moved_cursor(line: MakeLine, redis_client: Redis) -> None:
    """After FLUSHDB, what was read before must not come back as a status."""
    one = line()
    await one.attach()
    fill(redis_client, one.own.events, update(id_in(0), "pending"))
    batch = await one.fold()
    redis_client.flushdb()

    with pytest.raises(CursorMovedError):
        await one.store.commit(batch)
    assert redis_client.keys() == []


async def test_a_first_batch_does_not_outlive_a_flush(line: MakeLine, redis_client: Redis) -> None:
    """Where another owner has started over at 0-0, a late commit must not bring the old status."""
    late, other = line(), line()
    await late.attach()
    # With the ID of an earlier time: what is added after the flush has another one.
    redis_client.xadd(late.own.events, {"data": update(id_in(0), "pending")}, id=f"{NOW}-0")
    batch = await late.fold()
    redis_client.flushdb()
    await other.attach()
    fill(redis_client, other.own.events, update(id_in(0, prefix="new"), "pending"))
    before = everything(redis_client)
    with pytest.raises(CursorMovedError, match="0-0"):
        await late.store.commit(batch)
    assert everything(redis_client) == before
    await late.attach()
    await late.turn()
    assert redis_client.keys("status:task:*") == [f"status:task:{id_in(0, prefix='new')}"]


@pytest.mark.parametrize(
    "key",
    [
        "status:partition:{0}",
        "status:changes",
        "status:rejected",
        "status:counts:task",
        "status:phase:task:waiting",
        "status:events:{2}",
    ],
)
async def test_a_key_of_another_type_stops_the_commit_before_it_writes(
    line: MakeLine, redis_client: Redis, key: str
) -> None:
    """A script is not undone when it fails half-way, so it must not begin; it names the key."""
    one = line()
    await one.attach()
    task = id_in(0)
    fill(redis_client, one.own.events, update(task, "pending"), update(task, "waiting"), b"bad")
    fill(redis_client, one.own.events, update(id_in(2), "pending"))
    batch = await one.fold()
    redis_client.set(key, "not this")
    before = everything(redis_client)

    with pytest.raises(redis.ResponseError) as refused:
        await one.store.commit(batch)
    assert f"{key} holds a string" in str(refused.value)
    assert everything(redis_client) == before


async def test_a_full_server_writes_nothing(line: MakeLine, redis_client: Redis) -> None:
    """With `maxmemory` reached, a commit is refused whole, and goes through when there is room."""
    one = line()
    await one.attach()
    fill(redis_client, one.own.events, update(id_in(0), "pending"), b"bad")
    batch = await one.fold()
    before = everything(redis_client)
    redis_client.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        await one.store.commit(batch)
    redis_client.config_set("maxmemory", 0)
    assert everything(redis_client) == before

    await one.attach()
    await one.turn()
    assert redis_client.exists(f"status:task:{id_in(0)}")


async def test_counts_that_are_no_numbers_are_mended(line: MakeLine, redis_client: Redis) -> None:
    """Text in a hash of counts neither stops the partition nor half a commit."""
    one = line()
    await one.attach()
    redis_client.hset("status:counts:task", "pending", "many")
    fill(redis_client, one.own.events, update(id_in(0), "pending"))
    await one.turn()
    assert redis_client.hget("status:counts:task", "pending") == "1"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param([], ["pending", "waiting", "running"], id="from nothing"),
        pytest.param(["pending"], ["waiting", "running"], id="two steps"),
        pytest.param(["pending", "waiting"], ["running", "waiting"], id="back to the start"),
        pytest.param(["pending", "waiting"], ["running", "completed"], id="to the end"),
        pytest.param(["pending"], ["waiting", "waiting"], id="a heartbeat"),
    ],
)
async def test_the_index_tells_when_the_last_phase_was_entered(
    line: MakeLine, redis_client: Redis, before: list[str], after: list[str]
) -> None:
    """However often an entity moves in a batch: one phase has it, and one counts it.

    Who left a phase and came back entered it again; a heartbeat moves nothing.
    """
    one, entity = line(), id_in(0)
    await one.attach()
    for phases, start in ((before, NOW), (after, NOW + 100)):
        times = [start + number for number in range(len(phases))]
        fill(
            redis_client,
            one.own.events,
            *(update(entity, *each) for each in zip(phases, times, strict=True)),
        )
        if phases:
            await one.turn()
    entered = NOW + 100 + after.index(after[-1])
    index = {
        key.rpartition(":")[2]: redis_client.zrange(key, 0, -1, withscores=True)
        for key in redis_client.keys("status:phase:task:*")
    }
    assert index == {after[-1]: [(entity, entered)]}
    counts = {
        phase: int(count) for phase, count in redis_client.hgetall("status:counts:task").items()
    }
    assert {phase: count for phase, count in counts.items() if count} == {after[-1]: 1}


async def test_a_flushed_script_cache_is_no_matter(line: MakeLine, redis_client: Redis) -> None:
    """SCRIPT FLUSH between two commits costs a reload, not an error."""
    one = line()
    await one.attach()
    for phase in ("pending", "waiting"):
        redis_client.script_flush()
        fill(redis_client, one.own.events, update(id_in(0), phase))
        await one.turn()
    assert redis_client.zcard("status:phase:task:waiting") == 1


async def test_a_batch_of_many_entities(line: MakeLine, redis_client: Redis) -> None:
    """More values than Lua's unpack takes at once: 12,000 entities appear in one commit."""
    one = line(partitions=1)
    await one.attach()
    pipeline = redis_client.pipeline(transaction=False)
    for number in range(12_000):
        pipeline.xadd(one.own.events, {"data": update(f"e{number}", "pending")})
    pipeline.execute()
    await one.turn()
    assert redis_client.zcard("status:phase:task:pending") == 12_000
    assert redis_client.hget("status:counts:task", "pending") == "12000"
    assert redis_client.xlen("status:changes") == 12_000
    assert len(redis_client.keys("status:task:*")) == 12_000


async def test_caps_hold_and_say_what_they_dropped(line: MakeLine, redis_client: Redis) -> None:
    """The feed and the rejected entries stay at their caps; dropped rejections are counted."""
    one = line(max_changes=3, max_rejected=2)
    await one.attach()
    entities = [update(f"{id_in(0)}", phase) for phase in ("pending", "waiting", "running")]
    fill(redis_client, one.own.events, *entities, update(id_in(0), "failed"), *[b"bad"] * 5)
    dropped = await one.store.commit(await one.fold())
    assert dropped == 3
    assert redis_client.xlen("status:changes") == 3
    assert redis_client.xlen("status:rejected") == 2
    assert redis_client.hget("status:partition:{0}", "rejected_dropped") == "3"


async def test_fractions_of_a_millisecond_stay(line: MakeLine, redis_client: Redis) -> None:
    """A score passes through msgpack and Lua as exactly the number that it was."""
    one = line()
    await one.attach()
    fill(redis_client, one.own.events, update(id_in(0), "pending", NOW + 0.25))
    await one.turn()
    assert redis_client.zscore("status:phase:task:pending", id_in(0)) == NOW + 0.25
    assert '"updatedAt":1700000000000.25' in str(redis_client.get(f"status:task:{id_in(0)}"))


async def test_a_refused_commit_does_not_forward_again(line: MakeLine, redis_client: Redis) -> None:
    """Who was taken for new costs a second try, but no second forward, nor a lost one."""
    one = line(layout="cluster")
    await one.attach()
    status = '{"phase":"waiting","retries":0,"updatedAt":1700000000000}'
    redis_client.set(f"status:task:{{0}}:{id_in(0)}", status)
    fill(redis_client, one.own.events, update(id_in(2), "pending"), update(id_in(0), "pending"))
    batch = await one.fold()
    with pytest.raises(StatusChangedError) as refused:
        await one.store.commit(batch)
    assert not refused.value.was_known
    assert redis_client.xlen("status:events:{2}") == 1

    fill(redis_client, one.own.events, update(id_in(2), "waiting"))
    await one.attach()
    await one.turn()
    assert [fields["data"].encode() for _, fields in redis_client.xrange("status:events:{2}")] == [
        update(id_in(2), "pending"),
        update(id_in(2), "waiting"),
    ]


async def test_the_cluster_layout_forwards_before_it_commits(
    line: MakeLine, redis_client: Redis
) -> None:
    """Another partition's stream is in another slot: the update is there before the commit."""
    one = line(layout="cluster")
    await one.attach()
    fill(redis_client, one.own.events, update(id_in(2), "pending"), update(id_in(0), "pending"))
    batch = await one.fold()
    redis_client.hset(one.own.partition, "cursor", "9-9")
    with pytest.raises(CursorMovedError):
        await one.store.commit(batch)
    assert redis_client.xlen("status:events:{2}") == 1
    redis_client.hset(one.own.partition, "cursor", "0-0")

    await one.attach()
    await one.turn()
    assert redis_client.get(f"status:task:{{0}}:{id_in(0)}")
    assert redis_client.zcard("status:phase:{0}:task:pending") == 1
    assert redis_client.hgetall("status:counts:{0}:task") == {"pending": "1"}
    assert redis_client.xlen("status:changes:{0}") == 1


@pytest.mark.parametrize("held", [None, "inf", "nan", "many", "7"])
async def test_a_count_heals_as_its_set_is_touched(
    line: MakeLine, redis_client: Redis, held: str | None
) -> None:
    """A count that was lost, or written over, is the size of its set again after one commit."""
    one = line()
    await one.attach()
    first, second = id_in(0), id_in(0, prefix="other")
    fill(redis_client, one.own.events, update(first, "pending"))
    await one.turn()
    redis_client.delete("status:counts:task")
    if held is not None:
        redis_client.hset("status:counts:task", "pending", held)
    fill(redis_client, one.own.events, update(second, "pending"))
    await one.turn()
    assert redis_client.hgetall("status:counts:task") == {"pending": "2"}


async def test_a_status_that_was_deleted_and_begun_again_counts_once(
    line: MakeLine, redis_client: Redis
) -> None:
    """Somebody deletes a status, or gives it a TTL: its next life is no second entity."""
    one, task = line(), id_in(0)
    await one.attach()
    fill(redis_client, one.own.events, update(task, "pending"))
    await one.turn()
    redis_client.delete(f"status:task:{task}")
    await one.attach()
    fill(redis_client, one.own.events, update(task, "pending", NOW + 1))
    await one.turn()
    assert redis_client.hgetall("status:counts:task") == {"pending": "1"}


async def test_numbers_that_are_too_large_stop_no_commit(
    line: MakeLine, redis_client: Redis
) -> None:
    """XSETID with an absurd ENTRIESADDED, and totals that somebody wrote: the rest goes on."""
    one = line()
    await one.attach()
    fill(redis_client, one.own.events, update(id_in(0), "pending"))
    await one.turn()
    redis_client.execute_command(
        *("XSETID", one.own.events, one.cursor, "ENTRIESADDED", 2 * 10**17, "MAXDELETEDID", "0-0")
    )
    redis_client.hset(one.own.partition, mapping={"entries": "1e400", "applied": "nan"})
    await one.attach()
    fill(redis_client, one.own.events, update(id_in(0), "waiting", NOW + 1))
    await one.turn()
    await one.attach()
    assert redis_client.hmget(one.own.partition, "entries", "applied") == ["1", "1"]
    [group] = redis_client.xinfo_groups(one.own.events)
    assert group["last-delivered-id"] == one.cursor
    assert abs(group["lag"]) < 100  # Lua's numbers are doubles
