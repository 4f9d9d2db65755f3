"""Finding the cursor, whatever became of the stream, the hash and the group."""

from collections.abc import Callable

import pytest
import redis

from tests.events import NOW, id_in, update
from tests.line import Line
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


async def test_makes_what_was_never_there(line: MakeLine, redis_client: Redis) -> None:
    """On an empty server a worker begins at 0-0, with a stream and a group that have a lag of 0."""
    one = line()
    assert await one.attach() == ("stream", "hash")
    assert one.cursor == "0-0"
    assert redis_client.hgetall(PARTITION) == {"cursor": "0-0", "entries": "0"}
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


async def test_a_lost_group_is_made_at_the_cursor(line: MakeLine, redis_client: Redis) -> None:
    """XGROUP DESTROY loses nothing: the hash knows the cursor."""
    one = await drained(line, redis_client)
    cursor = one.cursor
    redis_client.xgroup_destroy(EVENTS, "tracker")
    assert await one.attach() == ("group",)
    assert one.cursor == cursor
    found = group(redis_client)
    assert (found["last-delivered-id"], found["lag"]) == (cursor, 0)


async def test_a_lost_hash_is_made_at_the_group(line: MakeLine, redis_client: Redis) -> None:
    """Deleting the hash alone repeats nothing: the group stood where the cursor stood."""
    one = await drained(line, redis_client)
    cursor = one.cursor
    redis_client.delete(PARTITION)
    assert await one.attach() == ("hash",)
    assert redis_client.hgetall(PARTITION) == {"cursor": cursor, "entries": "3"}


async def test_a_lost_stream_is_read_from_its_new_beginning(
    line: MakeLine, redis_client: Redis
) -> None:
    """Whatever IDs the next entries have, even smaller ones, they are read."""
    one = await drained(line, redis_client)
    redis_client.delete(EVENTS)
    assert await one.attach() == ("stream", "cursor")
    redis_client.xadd(
        EVENTS, {"data": update(id_in(0), "completed", NOW + 9)}, id="1700000000009-1"
    )
    await one.turn()
    assert redis_client.zcard("status:phase:task:completed") == 1
    assert redis_client.hget(PARTITION, "entries") == "4"


async def test_a_replaced_stream_is_read_from_its_beginning(
    line: MakeLine, redis_client: Redis
) -> None:
    """A stream whose last ID is behind the cursor is another one: the cursor means nothing."""
    one = await drained(line, redis_client)
    redis_client.delete(EVENTS)
    redis_client.xadd(
        EVENTS, {"data": update(id_in(0), "completed", NOW + 9)}, id="1700000000009-1"
    )
    assert await one.attach() == ("cursor", "group")
    await one.turn()
    assert redis_client.zcard("status:phase:task:completed") == 1
    assert group(redis_client)["lag"] == 0


@pytest.mark.parametrize(
    ("last", "cursor", "behind"),
    [
        ("1700000000000-9", "1700000000000-10", True),
        ("1700000000000-10", "1700000000000-9", False),
        ("999-0", "1700000000000-0", True),
        ("1700000000000-0", "1700000000000-0", False),
        ("18446744073709551614-1", "18446744073709551615-0", True),
        ("18446744073709551615-0", "18446744073709551614-1", False),
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
    assert group(redis_client)["lag"] == 0
    redis_client.xadd(EVENTS, {"data": "bad"})
    assert group(redis_client)["lag"] == 1


async def test_lag_survives_trimming(line: MakeLine, redis_client: Redis) -> None:
    """A producer that caps the stream does not make the tracker's lag unknown for good."""
    one = line()
    await one.attach()
    for _ in range(10):
        redis_client.xadd(EVENTS, {"data": "bad"}, maxlen=3, approximate=False)
    await one.turn()
    assert group(redis_client)["lag"] == 0


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
