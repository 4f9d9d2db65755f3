"""What a commit refuses before its first write, because a script is not undone half-way."""

from collections.abc import Callable

import pytest
import redis
from status_tracker.connection.url import connect
from status_tracker.lua.commit import CursorMovedError, StatusChangedError
from status_tracker.testing.line import Line

from tests.events import NOW, id_in, update
from tests.integration.test_commit import everything, fill
from tests.line import server_line
from tests.servers import Redis, Server

MakeLine = Callable[..., Line]

LAST_ID = "18446744073709551615-18446744073709551615"


async def batch_of_everything(one: Line, client: Redis) -> None:
    """Add what applies, what is rejected and what belongs elsewhere."""
    await one.attach()
    fill(client, one.own.events, update(id_in(0), "pending"), b"bad", update(id_in(2), "pending"))


@pytest.mark.parametrize("key", ["status:changes", "status:rejected", "status:events:{2}"])
async def test_a_stream_without_ids(line: MakeLine, redis_client: Redis, key: str) -> None:
    """One XADD of the last ID there is, by anybody, must not make commits fail in the middle."""
    one = line()
    await batch_of_everything(one, redis_client)
    redis_client.xadd(key, {"data": "x"}, id=LAST_ID)
    batch = await one.fold()
    before = everything(redis_client)
    with pytest.raises(redis.ResponseError) as refused:
        await one.store.commit(batch)
    assert f"{key} has no IDs left" in str(refused.value)
    assert everything(redis_client) == before


async def test_a_feed_with_few_ids_left(line: MakeLine, redis_client: Redis) -> None:
    """The first change may find room where the second one would not: it does not stay there."""
    one = line()
    await batch_of_everything(one, redis_client)
    redis_client.xadd(
        "status:changes", {"data": "x"}, id="18446744073709551615-18446744073709551613"
    )
    batch = await one.fold()
    before, feed = everything(redis_client), redis_client.xrange("status:changes")
    with pytest.raises(redis.ResponseError, match="status:changes has no IDs left"):
        await one.store.commit(batch)
    after = everything(redis_client)
    assert redis_client.xrange("status:changes") == feed
    assert {key: after[key] for key in after if key != "status:changes"} == {
        key: before[key] for key in before if key != "status:changes"
    }


async def attach_and_commit(one: Line) -> None:
    """Do all that writes."""
    await one.attach()
    await one.turn()


@pytest.mark.parametrize("command", ["mset", "zadd", "hset", "xadd", "xtrim", "xgroup|setid"])
async def test_a_user_without_a_permission(
    line: MakeLine, server: Server, redis_client: Redis, command: str
) -> None:
    """A permission that is missing is named, and nothing is half-written."""
    await batch_of_everything(line(), redis_client)
    redis_client.execute_command("ACL", "SETUSER", "limited", "on", ">s3cret", "~*", "+@all")
    redis_client.execute_command("ACL", "SETUSER", "limited", f"-{command}")
    client = connect(server.url.replace("redis://", "redis://limited:s3cret@"))
    limited = server_line(client)
    try:
        before = everything(redis_client)
        with pytest.raises(redis.exceptions.NoPermissionError) as refused:
            await attach_and_commit(limited)
        assert command.partition("|")[0] in str(refused.value)
        assert everything(redis_client) == before
    finally:
        await client.close()
        redis_client.acl_deluser("limited")


@pytest.mark.parametrize(
    "text", ["garbage", '{"phase":"failed","retries":0,"updatedAt":2e12}', None]
)
async def test_a_status_that_somebody_changed(
    line: MakeLine, redis_client: Redis, text: str | None
) -> None:
    """What is in memory is written over nothing but what it was read from."""
    one = line()
    await one.attach()
    key = f"status:task:{id_in(0)}"
    fill(redis_client, one.own.events, update(id_in(0), "pending"))
    await one.turn()
    fill(redis_client, one.own.events, update(id_in(0), "waiting", NOW + 1))
    batch = await one.fold()
    redis_client.delete(key) if text is None else redis_client.set(key, text)
    before = everything(redis_client)
    with pytest.raises(StatusChangedError, match=key) as refused:
        await one.store.commit(batch)
    assert refused.value.was_known
    assert everything(redis_client) == before


async def test_a_commit_that_is_tried_again_forwards_once(
    line: MakeLine, redis_client: Redis
) -> None:
    """In the cluster layout forwards go out before the commit, and not again when it failed."""
    one = line(layout="cluster")
    await batch_of_everything(one, redis_client)
    redis_client.set(one.own.changes, "in the way")
    for _ in range(3):
        with pytest.raises(redis.ResponseError, match="holds a string"):
            await one.store.commit(await one.fold())
        await one.attach()
    redis_client.delete(one.own.changes)
    await one.turn()
    assert redis_client.xlen("status:events:{2}") == 1


async def test_forwards_go_out_again_after_a_restore(line: MakeLine, redis_client: Redis) -> None:
    """The same entries, read again on a restored backup, are forwarded again: nothing is lost."""
    one = line(layout="cluster")
    await batch_of_everything(one, redis_client)
    backup = {key: redis_client.dump(key) for key in redis_client.scan_iter()}
    for _ in range(2):
        await one.turn()
        assert redis_client.xlen("status:events:{2}") == 1
        redis_client.flushdb()
        for key, value in backup.items():
            redis_client.restore(key, 0, value)
        await one.attach()


async def test_a_stale_owner_is_told_before_anything_else(
    line: MakeLine, redis_client: Redis
) -> None:
    """A status that another owner wrote is a moved cursor, not a change by hand."""
    slow, fast = line(), line()
    await slow.attach()
    await fast.attach()
    fill(redis_client, slow.own.events, update(id_in(0), "pending"))
    batch = await slow.fold()
    await fast.turn()
    with pytest.raises(CursorMovedError):
        await slow.store.commit(batch)
