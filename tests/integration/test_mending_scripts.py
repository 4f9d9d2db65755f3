"""The scripts that mend, with keys of other types and commands forbidden: all, or nothing."""

from collections.abc import Awaitable, Callable

import pytest
import redis
from status_tracker.connection.client import Client
from status_tracker.connection.url import connect
from status_tracker.keys import Keys
from status_tracker.lua import drop_history, reindex
from status_tracker.lua.recount import recount

from tests.events import NOW
from tests.integration.test_commit import everything
from tests.integration.test_scripts import put
from tests.servers import Redis, Server

OWN = Keys("status", "cluster").partition(0)
STATUS, SET, COUNTS = OWN.status("task", "a"), OWN.phase("task", "running"), OWN.counts("task")
STALLED, GONE = OWN.stalled("task"), OWN.history("task", "gone")
DOCUMENT = b'{"phase":"running"}'


def place(
    ids: str, *, counts: str | None, wanted: str | None
) -> Callable[[Client], Awaitable[object]]:
    """Return what mends a place in a set of ids."""
    call = reindex.call(
        status=STATUS.encode(),
        history=OWN.history("task", "a").encode(),
        ids=ids,
        counts=counts,
        phase=None if counts is None else "running",
        entity_id=b"a",
        document=DOCUMENT,
        newest=b"newest",
        held=b"7",
        wanted=wanted,
    )
    return lambda client: reindex.reindex(client, [call])


CALLS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "put": place(SET, counts=COUNTS, wanted=str(NOW)),
    "take out": place(SET, counts=COUNTS, wanted=None),
    "unmark": place(STALLED, counts=None, wanted=None),
    "recount": lambda client: recount(client, counts=COUNTS, phases={"running": SET}),
    "drop": lambda client: drop_history.drop_history(
        client,
        [drop_history.call(status=OWN.status("task", "gone").encode(), history=GONE.encode())],
    ),
}

COMMANDS = ["exists", "type", "get", "lindex", "del", "hset", "zadd", "zrem", "zcard", "zscore"]


def prepare(client: Redis) -> dict[str, str]:
    """Write the keys as they are judged; return the whole database."""
    client.flushdb()
    client.set(STATUS, DOCUMENT)
    client.rpush(OWN.history("task", "a"), "newest", "older")
    client.zadd(SET, {"a": 7, "b": NOW})
    client.zadd(STALLED, {"a": 7})
    client.hset(COUNTS, "running", 9)
    client.rpush(GONE, "newest")
    return everything(client)


async def outcome(client: Client, call: Callable[[Client], Awaitable[object]]) -> object:
    """Return what a script answers, or its error."""
    try:
        return await call(client)
    except redis.ResponseError as error:
        return error


@pytest.mark.parametrize("name", CALLS)
async def test_all_or_nothing(server: Server, redis_client: Redis, name: str) -> None:
    """Whatever is in the way of it, such a script does all that it is to do, or writes nothing."""
    whole = connect(server.url)
    before = prepare(redis_client)
    assert await outcome(whole, CALLS[name]) in ([True], 1)
    done = everything(redis_client)
    assert done != before

    client = connect(server.url.replace("redis://", "redis://limited:s3cret@"))
    for command in COMMANDS:
        words = ("reset", "on", ">s3cret", "~*", "+@all", f"-{command}")
        redis_client.execute_command("ACL", "SETUSER", "limited", *words)
        before = prepare(redis_client)
        answer = await outcome(client, CALLS[name])
        assert everything(redis_client) == (before if isinstance(answer, Exception) else done)
    redis_client.acl_deluser("limited")
    await client.close()

    for key in before:
        for other in ("string", "hash", "zset", "list", "missing"):
            prepare(redis_client)
            redis_client.delete(key)
            put(redis_client, key, other)
            before = everything(redis_client)
            answer = await outcome(whole, CALLS[name])
            if answer not in ([True], 1):
                assert everything(redis_client) == before, (key, other)
    await whole.close()
