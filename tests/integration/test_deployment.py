"""What everyone who connects must agree on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import msgspec
import pytest
from status_tracker.connection.client import Client as WorkerClient
from status_tracker.connection.url import connect
from status_tracker.engine.agreement import agree
from status_tracker.errors import ConfigError
from status_tracker.keys import Keys, Layout
from status_tracker.metadata import (
    Deployment,
    RulesLostError,
    ensure_deployment,
    read_deployment,
    revise,
)
from status_tracker.rules import Rules, rules_json

from tests.line import RULES, deployed, meta_of
from tests.servers import Redis, Server

OTHER_RULES = msgspec.structs.replace(RULES, history=7)
META = "status:meta"


@pytest.fixture
async def client(server: Server) -> AsyncIterator[WorkerClient]:
    """A worker's client."""
    client = connect(server.url)
    yield client
    await client.close()


async def ensure(
    client: WorkerClient,
    prefix: str = "status",
    layout: Layout | Literal["auto"] = "single",
    rules: Rules = RULES,
    known: Deployment | None = None,
) -> Deployment:
    """Check or create a deployment of four partitions."""
    return await ensure_deployment(
        client, prefix, partitions=4, layout=layout, rules=rules, known=known
    )


async def test_the_first_to_connect_writes_it(client: WorkerClient, redis_client: Redis) -> None:
    """The meta key says what the deployment was created with, its rules too."""
    found = await ensure(client, "jobs", "cluster")
    text = rules_json(RULES)
    assert redis_client.hgetall("jobs:meta") == {
        "version": "2",
        "partitions": "4",
        "layout": "cluster",
        "revision": "1",
        "rules": text,
        "rules:1": text,
    }
    assert (found.keys.layout, found.partitions, found.revision) == ("cluster", 4, 1)
    assert found.rules == RULES


@pytest.mark.parametrize(
    ("field", "there", "named"),
    [
        ("partitions", "8", "configured is 4.*created with 8"),
        ("layout", "cluster", "configured is single.*created with cluster"),
        ("version", "3", "configured is 2.*created with 3"),
    ],
)
async def test_another_deployment_is_refused_with_both_values(
    client: WorkerClient, redis_client: Redis, field: str, there: str, named: str
) -> None:
    """A worker with other values would read other streams, so it must not begin."""
    known = await ensure(client)
    redis_client.hset(META, field, there)
    before = redis_client.hgetall(META)
    for memory in (None, msgspec.structs.replace(known, revision=2)):
        with pytest.raises(ConfigError, match=f"{field}: {named}"):
            await ensure(client, known=memory)
    assert redis_client.hgetall(META) == before


async def test_auto_takes_the_layout_that_is_there(client: WorkerClient) -> None:
    """`auto` is `single` on a new server, and what the deployment was created with afterwards."""
    assert (await ensure(client, "one", "auto")).keys.layout == "single"
    await ensure(client, "two", "cluster")
    assert (await ensure(client, "two", "auto")).keys.layout == "cluster"


async def test_a_meta_key_of_another_kind_is_named(
    client: WorkerClient, redis_client: Redis
) -> None:
    """Somebody else's key under our prefix is refused, not overwritten."""
    redis_client.set(META, "mine")
    with pytest.raises(ConfigError, match="status:meta"):
        await ensure(client)
    assert redis_client.get(META) == "mine"


async def test_of_two_who_begin_at_once_one_writes_its_rules(
    client: WorkerClient, redis_client: Redis
) -> None:
    """The other one reads them: there is never a deployment with some of each."""
    found = await asyncio.gather(*(ensure(client, rules=each) for each in (RULES, OTHER_RULES)))
    assert found[0].rules == found[1].rules
    assert found[0].rules in (RULES, OTHER_RULES)
    assert redis_client.hget(META, "rules:1") == rules_json(found[0].rules)


async def test_rules_are_revised_once(client: WorkerClient, redis_client: Redis) -> None:
    """Of two who apply at once, one is told; every revision is kept, and can be told again."""
    first = await ensure(client)
    second = await revise(client, first, OTHER_RULES)
    with pytest.raises(ConfigError, match="revision: status:meta has 2 by now"):
        await revise(client, first, RULES)
    third = await revise(client, second, RULES)
    assert (await read_deployment(client, "status")).texts == third.texts
    assert (third.revision, third.had(RULES), third.had(OTHER_RULES)) == (3, 3, 2)
    assert third.had(msgspec.structs.replace(RULES, history=8)) is None
    assert redis_client.hget(META, "rules:2") == rules_json(OTHER_RULES)


@pytest.mark.parametrize("left", [0, 1, 2])
async def test_what_was_lost_is_written_back(
    client: WorkerClient, redis_client: Redis, left: int
) -> None:
    """A flush takes all of it, a failover the last revisions: who has them in memory has them."""
    first = await ensure(client)
    known = await revise(client, await revise(client, first, OTHER_RULES), RULES)
    whole = redis_client.hgetall(META)
    redis_client.delete(META)
    if left:
        texts = {number: known.texts[number] for number in range(1, left + 1)}
        older = msgspec.structs.replace(
            first, revision=left, texts=texts, rules=RULES if left == 1 else OTHER_RULES
        )
        redis_client.hset(META, mapping=meta_of(older))
    redis_client.hset(Keys("status", "single").partition(1).partition, "revision", 3)
    assert (await ensure(client, known=known)).texts == known.texts
    assert redis_client.hgetall(META) == whole


async def test_rules_that_nobody_has_are_waited_for(
    client: WorkerClient, redis_client: Redis
) -> None:
    """To begin again with other ones would change what the entries since then became."""
    known = await ensure(client)
    redis_client.delete(META)
    for memory, revision in ((None, 1), (known, 2)):
        redis_client.hset("status:partition:{3}", "revision", revision)
        says = rf"partition:\{{3\}} goes by revision {revision} .* restore"
        with pytest.raises(RulesLostError, match=says):
            await ensure(client, known=memory)
    assert not redis_client.exists(META)


async def test_another_past_is_not_written_over(client: WorkerClient, redis_client: Redis) -> None:
    """Where a revision has other rules than in memory, nobody can tell which were meant."""
    known = await revise(client, await ensure(client), OTHER_RULES)
    redis_client.delete(META)
    redis_client.hset(META, mapping=meta_of(deployed(OTHER_RULES, partitions=4)))
    before = redis_client.hgetall(META)
    with pytest.raises(RulesLostError, match="status:meta has revision 1, with other rules"):
        await ensure(client, known=known)
    assert redis_client.hgetall(META) == before


@pytest.mark.parametrize(
    ("info", "named"),
    [
        ("redis_version:6.2.14\r\nredis_mode:standalone", "Redis 6.2.14; needed is Redis 7.0"),
        ("redis_version:7.2.4\r\ncluster_enabled:1", "Redis Cluster"),
    ],
)
async def test_a_server_that_will_not_do_is_refused(info: str, named: str) -> None:
    """An older server is refused with its version and the one needed; this one only says so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line.upper().startswith(b"INFO"):
                writer.write(f"${len(info)}\r\n{info}\r\n".encode())
            elif line.upper().startswith(b"CLIENT"):
                writer.write(b"+OK\r\n")
        writer.close()
        ended.set()

    ended = asyncio.Event()
    old = await asyncio.start_server(answer, "127.0.0.1", 0)
    client = connect(f"redis://127.0.0.1:{old.sockets[0].getsockname()[1]}")
    try:
        with pytest.raises(ConfigError, match=named):
            await ensure(client)
    finally:
        await client.close()
        async with asyncio.timeout(10):
            await ended.wait()
        old.close()


async def test_a_worker_knows_one_object_until_something_changes(
    client: WorkerClient, redis_client: Redis
) -> None:
    """Partitions that have the same one are committed together, so all are told of another one."""
    await revise(client, await ensure(client), OTHER_RULES)
    [first] = redis_client.hmget(META, ["rules:1"])
    assert first is not None
    redis_client.hdel(META, "rules:1")
    told: list[None] = []
    agreement = await agree(
        client, "status", partitions=4, layout="single", rules=RULES, old_rules=RULES
    )
    agreement.call(lambda: told.append(None))
    known = agreement.known
    assert await agreement.current() is known
    redis_client.hset(META, "rules:1", first)
    restored = await agreement.current()
    assert restored is not known
    assert restored is await agreement.current()
    assert (restored.revision, restored.rules, len(told)) == (known.revision, known.rules, 1)
