"""Each script with a key missing, of another type, or forbidden: all of its effects, or none."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
import redis
from status_tracker.connection.client import Client
from status_tracker.connection.url import connect
from status_tracker.engine.batch import Batch
from status_tracker.engine.common_store import CommonStore
from status_tracker.engine.leases import Leases
from status_tracker.keys import Keys
from status_tracker.lua.amend import amend
from status_tracker.lua.begin import begin
from status_tracker.lua.commit import CursorMovedError, StatusChangedError
from status_tracker.lua.fill import fill as write_entities
from status_tracker.lua.mark import mark
from status_tracker.lua.read import read
from status_tracker.lua.restore import Restored, restore
from status_tracker.lua.take_over import take_over
from status_tracker.lua.trim import trim
from status_tracker.testing.line import Line

from tests.events import NOW, id_in, update
from tests.integration.test_commit import everything, fill
from tests.integration.test_history import RULES_WITH_HISTORY
from tests.line import server_line
from tests.servers import Redis, Server

KEYS = Keys("status", "cluster")
SINGLE = Keys("status", "single")
OWN, RECEIVER = KEYS.partition(0), KEYS.partition(2)

Call = Callable[[], Awaitable[object]]

COMMANDS = [
    *["exists", "type", "get", "set", "del", "mget", "mset"],
    *["hget", "hmget", "hset", "hdel", "hgetall", "lpush", "rpush", "ltrim", "time"],
    *["zadd", "zrem", "zcard", "zrange", "zrangebyscore", "zremrangebyscore"],
    *["xadd", "xtrim", "xrange", "xrevrange", "xlen", "xsetid", "xinfo|stream", "xinfo|groups"],
    *["xgroup|create", "xgroup|setid", "xpending"],
]

SCRIPTS = [
    *["attach", "commit", "commit together", "commit of a removal", "forward", "read"],
    *["glance", "amend", "take_over", "fill", "begin", "restore"],
    *["heartbeat", "claim", "release", "mark", "trim"],
]


@asynccontextmanager
async def prepared(name: str, server: Server, client: Client) -> AsyncIterator[Call]:
    """Bring the keys into a state in which a script has much to do; yield what calls it."""
    whole = connect(server.url)
    ready: Line = server_line(whole, rules=RULES_WITH_HISTORY, layout="cluster")
    limited: Line = server_line(client, rules=RULES_WITH_HISTORY, layout="cluster")
    leases = Leases(client, KEYS, 4, name="me", ttl=10_000)
    await ready.attach()
    with server.client() as direct:
        fill(direct, OWN.events, update(id_in(0), "pending"), b"bad", update(id_in(2), "pending"))
        await ready.turn()
        direct.zadd(OWN.stalled("task"), {id_in(0): NOW})
        cursor = ready.cursor
        fill(direct, OWN.events, update(id_in(0), "waiting", NOW + 1), b"bad")
        if name == "trim":
            direct.xgroup_create(OWN.events, "another", 0)
        if name == "attach":
            direct.delete(OWN.partition)
            direct.xgroup_destroy(OWN.events, "tracker")
        if name == "take_over":
            direct.hdel(OWN.partition, "revision")
        if name in ("fill", "begin"):
            direct.delete(OWN.events)
            direct.hset(OWN.partition, "importing", "me")
        if name == "forward":
            fill(direct, OWN.events, update(id_in(2), "waiting", NOW + 1))
    batch = await ready.fold()
    common = CommonStore(client, SINGLE, 4, max_changes=100, max_rejected=100)
    together = await batches_of_two(whole, server) if name == "commit together" else []
    if name == "commit of a removal":
        # Alone, after all else.
        await ready.store.commit(batch)
        ready.builder.committed(batch)
        with server.client() as direct:
            direct.xadd(OWN.events, {"remove": json.dumps([["task", id_in(0)]])})
        batch = await ready.fold()
    forwards = {number: batch.forwards.pop(number) for number in list(batch.forwards)}
    calls: dict[str, Call] = {
        "attach": limited.look,
        "commit": lambda: limited.store.commit(batch),
        "commit together": lambda: common.commit(together),
        "glance": lambda: common.glance({0: (batch.cursor, 1)}, 0),
        "commit of a removal": lambda: limited.store.commit(batch),
        "forward": lambda: limited.store._forward(forwards),  # type: ignore[attr-defined]
        "amend": lambda: amend(
            client, meta=KEYS.meta, seen={}, fields={"version": "2", "layout": "x"}
        ),
        "take_over": lambda: take_over(
            client, partition=OWN.partition, events=OWN.events, group="tracker"
        ),
        "fill": lambda: write_entities(
            client,
            partition=OWN.partition,
            importing="me",
            line=3,
            statuses={OWN.status("task", "new"): b"{}"},
            scores={OWN.phase("task", "pending"): ["1", "new"]},
            histories={OWN.history("task", "new"): [b"1", b"2"]},
        ),
        "restore": lambda: restore(
            client,
            counts=OWN.counts("task"),
            phases={each: OWN.phase("task", each) for each in ("pending", "waiting")},
            entities=[
                Restored(
                    id="new",
                    status_key=OWN.status("task", "new"),
                    history_key=OWN.history("task", "new"),
                    found=b"",
                    status=b"{}",
                    scores={"pending": "1"},
                    history=[b"1", b"2"],
                )
            ],
        ),
        "begin": lambda: begin(
            client,
            partition=OWN.partition,
            events=OWN.events,
            importing="me",
            cursor="5-5",
            revision=1,
        ),
        "heartbeat": lambda: leases.beat(1_000),
        "claim": lambda: leases.claim([0, 1], lambda _, __: None),
        "release": lambda: leases.release([0, 1]),
        "mark": lambda: mark(
            client,
            partition=OWN.partition,
            events=OWN.events,
            lease=KEYS.lease(0),
            owner="",
            cursor=cursor,
            deadline=NOW,
            marks={OWN.stalled("task"): [(NOW, id_in(0))], OWN.stalled("asset"): [(NOW, "a")]},
            updates=["{}"],
        ),
        "trim": lambda: trim(
            client,
            partition=OWN.partition,
            events=OWN.events,
            group="tracker",
            before=10**13,
            held=10**13,
            most=10,
        ),
        "read": lambda: read(
            client,
            events=OWN.events,
            cursor="0-0",
            count=9,
            longest=99,
            size=999,
            names=6,
            fields=[b"data"],
        ),
    }
    try:
        yield calls[name]
    finally:
        await whole.close()


async def batches_of_two(client: Client, server: Server) -> list[Batch]:
    """Return a batch of each of two partitions, with all that such a batch may have."""
    batches = []
    for number in (0, 1):
        one = server_line(client, number, rules=RULES_WITH_HISTORY)
        await one.attach()
        with server.client() as direct:
            fill(direct, one.own.events, update(id_in(number), "pending"))
            await one.turn()
            fill(direct, one.own.events, update(id_in(number), "waiting", NOW + 1), b"bad")
        batches.append(await one.fold())
    return batches


async def refusal(call: Call) -> Exception | None:
    """Call a script; return why it did nothing, or should not have done anything."""
    try:
        await call()
    except (redis.ResponseError, CursorMovedError, StatusChangedError) as error:
        return error
    return None


def put_back(client: Redis, whole: Mapping[str, bytes]) -> None:
    """Have the keys be as they were, and no others."""
    client.flushdb()
    for key, dump in whole.items():
        client.restore(key, 0, dump)


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_script_that_may_not_do_everything_does_nothing(
    server: Server, redis_client: Redis, name: str
) -> None:
    """A permission that is missing stops a script before it writes, whichever it is."""
    limited = ["ACL", "SETUSER", "limited", "+@all"]
    redis_client.execute_command(*limited, "on", ">s3cret", "~*")
    client = connect(server.url.replace("redis://", "redis://limited:s3cret@"))
    needed = []
    try:
        async with prepared(name, server, client) as call:
            whole = everything(redis_client)
            for command in COMMANDS:
                put_back(redis_client, whole)
                redis_client.execute_command(*limited, f"-{command}")
                before = everything(redis_client)
                if refused := await refusal(call):
                    assert everything(redis_client) == before, (command, refused)
                    needed.append(command)
        assert needed or name == "glance"  # which looks only, and says that it could not
    finally:
        await client.close()
        redis_client.acl_deluser("limited")


@pytest.mark.parametrize("other", ["string", "hash", "zset", "stream", "list", "missing"])
@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_script_with_a_key_of_another_type_does_nothing(
    server: Server, redis_client: Redis, name: str, other: str
) -> None:
    """Whatever somebody put in the place of a key, or took away: it is all or nothing."""
    client = connect(server.url)
    try:
        async with prepared(name, server, client) as call:
            keys = {*redis_client.keys(), KEYS.meta, KEYS.workers, KEYS.lease(0), KEYS.lease(1)}
            whole = everything(redis_client)
            for key in sorted(keys):
                put_back(redis_client, whole)
                redis_client.delete(key)
                put(redis_client, key, other)
                before = everything(redis_client)
                refused = await refusal(call)
                assert refused is None or everything(redis_client) == before, (key, refused)
    finally:
        await client.close()


def put(client: Redis, key: str, kind: str) -> None:
    """Put something of a type in the place of a key."""
    match kind:
        case "string":
            client.set(key, "not this")
        case "hash":
            client.hset(key, "not", "this")
        case "zset":
            client.zadd(key, {"not this": 1})
        case "stream":
            client.xadd(key, {"not": "this"})
        case "list":
            client.lpush(key, "not this")
