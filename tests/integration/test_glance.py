"""Looking at the keys of many partitions at once: whatever happened to one of them is seen."""

from collections.abc import AsyncIterator, Callable

import pytest
from status_tracker.connection.url import connect
from status_tracker.engine.common_store import CommonStore
from status_tracker.keys import Keys
from status_tracker.testing.line import Line

from tests.events import NOW, id_in, update
from tests.integration.test_commit import everything, fill
from tests.servers import Redis, Server

MakeLine = Callable[..., Line]

KEYS = Keys("status", "single")
OWN = KEYS.partition(1)
LAST_ID = "18446744073709551615-18446744073709551615"


@pytest.fixture
async def common(server: Server) -> AsyncIterator[CommonStore]:
    """The keys of all partitions."""
    client = connect(server.url)
    yield CommonStore(client, KEYS, 4, max_changes=100, max_rejected=100)
    await client.close()


async def at_rest(line: MakeLine, client: Redis) -> dict[int, tuple[str, int]]:
    """Have three partitions read what there is; return where they stand."""
    stand = {}
    for number in range(3):
        one = line(number)
        await one.attach()
        fill(client, one.own.events, update(id_in(number), "pending"), b"bad")
        await one.turn()
        stand[number] = (one.cursor, 1)
    return stand


async def test_what_is_as_it_was_is_not_named(
    common: CommonStore, line: MakeLine, redis_client: Redis
) -> None:
    """Neither is an update that was not read yet; and nothing is written."""
    stand = await at_rest(line, redis_client)
    before = everything(redis_client)
    assert [await common.glance(stand, each) for each in stand] == [[], [], []]
    assert everything(redis_client) == before
    fill(redis_client, OWN.events, update(id_in(1), "waiting", NOW + 1))
    assert await common.glance(stand, 1) == []


@pytest.mark.parametrize(
    "happened",
    [
        pytest.param(lambda client: client.delete(OWN.events), id="stream deleted"),
        pytest.param(lambda client: client.delete(OWN.partition), id="hash deleted"),
        pytest.param(lambda client: client.xgroup_destroy(OWN.events, "tracker"), id="no group"),
        pytest.param(
            lambda client: client.xgroup_setid(OWN.events, "tracker", 0), id="group moved"
        ),
        pytest.param(lambda client: client.hset(OWN.partition, "cursor", "1-1"), id="cursor moved"),
        pytest.param(lambda client: client.hset(OWN.partition, "revision", 2), id="other rules"),
        pytest.param(
            lambda client: (client.xadd(OWN.events, {"data": "x"}), client.xtrim(OWN.events, 0)),
            id="trimmed unread",
        ),
        pytest.param(
            lambda client: (client.delete(OWN.events), client.set(OWN.events, "x")),
            id="stream of another type",
        ),
        pytest.param(
            lambda client: (client.delete(OWN.partition), client.set(OWN.partition, "x")),
            id="hash of another type",
        ),
        pytest.param(
            lambda client: client.execute_command("XSETID", OWN.events, LAST_ID), id="no IDs left"
        ),
    ],
)
async def test_what_happened_to_one_partition_is_seen(
    common: CommonStore,
    line: MakeLine,
    redis_client: Redis,
    happened: Callable[[Redis], object],
) -> None:
    """Its owner, and nobody else, is to look at its keys and mend them."""
    stand = await at_rest(line, redis_client)
    happened(redis_client)
    assert await common.glance(stand, 1) == [1]
