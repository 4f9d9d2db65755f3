"""Finding the cursor, whatever became of the stream, the hash and the group."""

from collections.abc import Callable

import pytest
import redis
from status_tracker.lua.attach import Attached
from status_tracker.lua.commit import CursorMovedError
from status_tracker.testing.line import Line

from tests.events import NOW, id_in, update
from tests.integration.test_commit import everything
from tests.servers import Redis

MakeLine = Callable[..., Line]

EVENTS = "status:events:{0}"
PARTITION = "status:partition:{0}"


def group(client: Redis) -> dict[str, object]:
    """Return what XINFO says of the tracker's group."""
    [found] = client.xinfo_groups(EVENTS)
    assert found["name"] == "tracker"
    return dict(found)


async def drained(line: MakeLine, client: Redis) -> Line:
    """Return a line that has committed three entries."""
    one = line()
    await one.attach()
    for number, phase in enumerate(("pending", "waiting", "running")):
        client.xadd(EVENTS, {"data": update(id_in(0), phase, NOW + number)})
    await one.turn()
    return one


async def test_creates_what_was_never_there(line: MakeLine, redis_client: Redis) -> None:
    """On an empty server a worker begins at 0-0, with a stream and a group that have a lag of 0."""
    one = line()
    assert await one.attach() == ("hash", "stream")
    assert one.cursor == "0-0"
    assert redis_client.hgetall(PARTITION) == {
        "cursor": "0-0",
        "entries": "0",
        "revision": "1",
        "revision:1": "0-0",
    }
    assert group(redis_client)["lag"] == 0
    assert await one.attach() == ()


async def test_begins_at_the_beginning_of_a_stream_that_waits(
    line: MakeLine, redis_client: Redis
) -> None:
    """Producers may come first: what they wrote is read, and is lag until then."""
    redis_client.xadd(EVENTS, {"data": update(id_in(0), "pending")})
    one = line()
    assert await one.attach() == ("hash", "group")
    assert group(redis_client)["lag"] == 1
    await one.turn()
    assert group(redis_client)["lag"] == 0


async def test_a_lost_group_is_recreated_at_the_cursor(line: MakeLine, redis_client: Redis) -> None:
    """XGROUP DESTROY loses nothing: the hash knows the cursor."""
    one = await drained(line, redis_client)
    cursor = one.cursor
    redis_client.xgroup_destroy(EVENTS, "tracker")
    assert await one.attach() == ("group",)
    assert one.cursor == cursor
    found = group(redis_client)
    assert (found["last-delivered-id"], found["lag"]) == (cursor, 0)


async def test_a_lost_hash_is_recreated_at_the_group(line: MakeLine, redis_client: Redis) -> None:
    """Deleting the hash alone repeats nothing: the group stood where the cursor stood."""
    one = await drained(line, redis_client)
    cursor = one.cursor
    redis_client.delete(PARTITION)
    assert await one.attach() == ("hash",)
    assert redis_client.hgetall(PARTITION) == {
        "cursor": cursor,
        "entries": "3",
        "revision": "1",
        "revision:1": cursor,
    }


async def add_next(client: Redis, phase: str, number: int, key: str = EVENTS, **id_: str) -> str:
    """Add the next update of the task; return its ID."""
    return str(client.xadd(key, {"data": update(id_in(0), phase, NOW + number)}, **id_))


async def test_a_lost_stream_is_recreated_with_the_cursor_as_its_last_id(
    line: MakeLine, redis_client: Redis
) -> None:
    """So it goes on where it was, and may come back, for somebody may only have renamed it."""
    one = await drained(line, redis_client)
    cursor = one.cursor
    redis_client.delete(EVENTS)
    assert await one.attach() == ("stream",)
    found = redis_client.xinfo_stream(EVENTS)
    assert (one.cursor, found["last-generated-id"], found["length"]) == (cursor, cursor, 0)
    assert (group(redis_client)["entries-read"], group(redis_client)["lag"]) == (0, 0)
    await add_next(redis_client, "completed", 9)
    await one.turn()
    assert redis_client.zcard("status:phase:task:completed") == 1
    assert redis_client.hget(PARTITION, "entries") == "4"
    assert redis_client.hget(PARTITION, "epoch") is None


async def test_a_stream_that_was_renamed_away_comes_back(
    line: MakeLine, redis_client: Redis
) -> None:
    """What was applied of it is not applied again, and what was not read of it is."""
    one = await drained(line, redis_client)
    await add_next(redis_client, "waiting", 3)  # a retry: applied twice, it would count twice
    redis_client.rename(EVENTS, "away")
    await one.attach()
    later = int(one.cursor.partition("-")[0]) + 1_000
    await add_next(redis_client, "waiting", 4, id=f"{later}-0")
    await one.turn()
    redis_client.rename("away", EVENTS)
    assert await one.attach() == ("cursor",)
    await one.turn()
    assert redis_client.hget(PARTITION, "epoch") == "1"
    [status] = redis_client.mget(f"status:task:{id_in(0)}")
    assert '"retries":1' in str(status)
    assert redis_client.hget(PARTITION, "entries") == "5"
    assert group(redis_client)["lag"] == 0


async def test_a_commit_waits_for_a_stream_that_went_away(
    line: MakeLine, redis_client: Redis
) -> None:
    """What was read of it must not move the cursor, or it is read again when it comes back."""
    one = await drained(line, redis_client)
    await add_next(redis_client, "waiting", 3)
    batch = await one.fold()
    redis_client.rename(EVENTS, "away")
    with pytest.raises(CursorMovedError, match=r"^$"):
        await one.store.commit(batch)
    await one.attach()
    redis_client.rename("away", EVENTS)
    await one.turn()
    assert '"retries":1' in str(redis_client.get(f"status:task:{id_in(0)}"))


async def test_a_replaced_stream_is_read_from_its_beginning(
    line: MakeLine, redis_client: Redis
) -> None:
    """A stream whose last ID is before the cursor and that has no group of ours is another one."""
    one = await drained(line, redis_client)
    redis_client.delete(EVENTS)
    await add_next(redis_client, "completed", 9, id="1700000000009-1")
    assert await one.attach() == ("cursor", "group")
    assert redis_client.hget(PARTITION, "epoch") == "1"
    await one.turn()
    assert redis_client.zcard("status:phase:task:completed") == 1
    assert (group(redis_client)["entries-read"], group(redis_client)["lag"]) == (1, 0)


async def test_a_stream_whose_last_id_was_set_back_waits(
    line: MakeLine, redis_client: Redis
) -> None:
    """An entry of the future was taken away, and its ID: nothing is applied again, it is said."""
    one = await drained(line, redis_client)
    ours = one.cursor
    await add_next(redis_client, "waiting", 3, id=FUTURE)
    await one.turn()
    redis_client.xtrim(EVENTS, maxlen=0)
    redis_client.execute_command("XSETID", EVENTS, ours)
    await add_next(redis_client, "waiting", 4)
    before = everything(redis_client)
    with pytest.raises(redis.ResponseError, match=f"XSETID .*{FUTURE} mends it"):
        await one.attach()
    assert everything(redis_client) == before
    redis_client.execute_command("XSETID", EVENTS, FUTURE)
    await one.attach()
    assert '"retries":1' in str(redis_client.get(f"status:task:{id_in(0)}"))


async def test_a_lost_group_and_then_a_lost_hash(line: MakeLine, redis_client: Redis) -> None:
    """A group that is recreated knows how many entries it read: so the hash can be lost next."""
    one = await drained(line, redis_client)
    redis_client.xgroup_destroy(EVENTS, "tracker")
    await one.attach()
    await add_next(redis_client, "waiting", 3)
    await one.turn()
    assert group(redis_client)["entries-read"] == 4
    redis_client.delete(PARTITION)
    await one.attach()
    await one.turn()
    assert '"retries":1' in str(redis_client.get(f"status:task:{id_in(0)}"))


FUTURE = "18446744073709551615-7"


@pytest.mark.parametrize(
    "last", [FUTURE, "18446744073709551615-18446744073709551615", "4102444800000-0"]
)
async def test_a_stream_that_ends_in_the_future_is_recreated_once_drained(
    line: MakeLine, redis_client: Redis, last: str
) -> None:
    """One XADD of anybody must neither stop honest producers nor make rule 3 mean nothing."""
    one = await drained(line, redis_client)
    redis_client.xadd(EVENTS, {"data": "x"}, id=last)
    assert await one.attach() == ()
    assert redis_client.xlen(EVENTS) == 4
    await one.turn()
    assert await one.attach() == ("ids",)
    seconds, _ = redis_client.time()
    assert abs(int(one.cursor.partition("-")[0]) / 1000 - seconds) < 60
    found = redis_client.xinfo_stream(EVENTS)
    assert (found["length"], found["last-generated-id"]) == (0, one.cursor)
    assert redis_client.hget(PARTITION, "epoch") == "1"
    await add_next(redis_client, "waiting", 3)
    await one.turn()
    assert '"retries":1' in str(redis_client.get(f"status:task:{id_in(0)}"))
    assert group(redis_client)["lag"] == 0


async def test_a_last_id_that_is_of_no_entry_is_seen(line: MakeLine, redis_client: Redis) -> None:
    """XSETID to the last ID there is leaves no entry to read, and no ID for another one."""
    one = await drained(line, redis_client)
    redis_client.execute_command("XSETID", EVENTS, "18446744073709551615-18446744073709551615")
    assert await one.attach() == ("ids",)
    await add_next(redis_client, "waiting", 3)


async def test_an_idle_look_copies_no_entry(line: MakeLine, redis_client: Redis) -> None:
    """XINFO STREAM would copy the first and the last one, of 100 MB each, twice a second."""
    one = await drained(line, redis_client)
    redis_client.config_resetstat()
    attached = await one.look(thorough=False)
    assert attached == Attached(one.cursor)
    calls = redis_client.info("commandstats")
    assert "cmdstat_xinfo|groups" in calls
    assert not {"cmdstat_xinfo|stream", "cmdstat_xrange", "cmdstat_xrevrange"} & calls.keys()


@pytest.mark.parametrize(
    ("last", "cursor", "behind"),
    [
        ("1700000000000-9", "1700000000000-10", True),
        ("1700000000000-10", "1700000000000-9", False),
        ("999-0", "1700000000000-0", True),
        ("1700000000000-0", "1700000000000-0", False),
    ],
)
async def test_compares_ids_as_numbers(
    line: MakeLine, redis_client: Redis, last: str, cursor: str, behind: bool
) -> None:
    """IDs are compared exactly, beyond what a Lua number holds."""
    redis_client.xadd(EVENTS, {"data": "x"}, id=last)
    redis_client.hset(PARTITION, mapping={"cursor": cursor, "entries": 1})
    one = line()
    assert ("cursor" in await one.attach()) is behind


async def test_a_cursor_that_is_no_id_is_named(line: MakeLine, redis_client: Redis) -> None:
    """A hash that somebody edited badly gets an error that says what to set."""
    redis_client.hset(PARTITION, "cursor", "yesterday")
    with pytest.raises(redis.ResponseError, match=r"status:partition:\{0\} holds the cursor yest"):
        await line().attach()


async def test_lag_is_true_on_the_way_and_when_entries_were_deleted(
    line: MakeLine, redis_client: Redis
) -> None:
    """Autoscalers read `lag`: it counts down, and ends at 0 also where entries went unread."""
    one = line()
    await one.attach()
    ids = [redis_client.xadd(EVENTS, {"data": "bad"}) for _ in range(6)]
    await one.turn(count=2)
    assert group(redis_client)["lag"] == 4
    redis_client.xdel(EVENTS, ids[3])
    await one.turn()
    await one.attach()
    assert group(redis_client)["lag"] == 0
    redis_client.xadd(EVENTS, {"data": "bad"})
    assert group(redis_client)["lag"] == 1


async def test_entries_that_were_trimmed_unread_are_counted(
    line: MakeLine, redis_client: Redis
) -> None:
    """A producer that caps the stream loses updates: that is said, and the lag is known again."""
    one = line()
    await one.attach()
    for _ in range(10):
        redis_client.xadd(EVENTS, {"data": "bad"}, maxlen=3, approximate=False)
    await one.turn()
    attached = await one.look(thorough=False)
    assert (attached.lost, attached.cursor) == (7, one.cursor)
    assert redis_client.hmget(PARTITION, "entries", "lost") == ["3", "7"]
    assert group(redis_client)["lag"] == 0
    assert (await one.look()).lost == 0
    redis_client.xtrim(EVENTS, maxlen=0)
    assert (await one.look()).lost == 0


async def test_a_group_that_somebody_else_made_hides_no_backlog(
    line: MakeLine, redis_client: Redis
) -> None:
    """An exporter may have made the group at the end of the stream before the first worker came."""
    redis_client.xadd(EVENTS, {"data": update(id_in(0), "pending")})
    redis_client.xgroup_create(EVENTS, "tracker", "$")
    one = line()
    assert await one.attach() == ("hash",)
    assert one.cursor == "0-0"
    await one.turn()
    assert redis_client.exists(f"status:task:{id_in(0)}")
    assert group(redis_client)["lag"] == 0
