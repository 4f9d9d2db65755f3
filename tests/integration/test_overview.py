"""What the server says of a whole deployment, for metrics: never null, in either layout."""

from collections.abc import AsyncIterator

import pytest
from status_tracker.connection.client import Client as WorkerClient
from status_tracker.connection.url import reach
from status_tracker.keys import Keys, Layout
from status_tracker.monitoring.overview import read_overview

from tests.events import add, id_in, update
from tests.line import deployed, server_line
from tests.servers import Redis, Server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[WorkerClient]:
    """The client that looks."""
    client = await reach(server.url)
    yield client
    await client.close()


@pytest.mark.parametrize("layout", ["single", "cluster"])
async def test_entities_and_streams_are_of_all_partitions(
    client: WorkerClient, redis_client: Redis, layout: Layout
) -> None:
    """Counts are summed up; a stream that all share is there once, one of a partition's by it."""
    keys = Keys("status", layout)
    for number in (0, 1):
        line = server_line(client, number, layout=layout, partitions=2)
        await line.attach()
        add(redis_client, update(id_in(number, 2), "pending"), keys=keys, partitions=2)
        add(redis_client, update(id_in(number, 2), "completed"), keys=keys, partitions=2)
        await line.turn()
        redis_client.zadd(keys.partition(number).stalled("asset"), {f"a{number}": 1})
    redis_client.hset(keys.partition(0).counts("asset"), "ready", "many")
    seen = await read_overview(client, deployed(layout=layout, partitions=2))
    assert {each: count for each, count in seen.entities.items() if count} == {
        ("task", "pending"): 2
    }
    assert seen.stalled == {"task": 0, "asset": 2}
    lengths = {("events", "0"): 2, ("events", "1"): 2}
    if layout == "single":
        lengths |= {("changes", ""): 2, ("rejected", ""): 2}
    else:
        lengths |= {(name, str(n)): 1 for name in ("changes", "rejected") for n in (0, 1)}
    assert seen.lengths == lengths
    assert seen.lag == [0, 0]
    assert abs(seen.clock_ahead) < 1000


async def test_a_lag_that_the_server_does_not_know_is_a_number(
    client: WorkerClient, redis_client: Redis
) -> None:
    """Where entries were deleted unread, those count, too; never more than the stream holds."""
    deployment, keys = deployed(partitions=1), Keys("status", "single")
    line = server_line(client, partitions=1)
    await line.attach()
    added = [
        add(redis_client, update(f"e{n}", "pending"), keys=keys, partitions=1) for n in range(9)
    ]
    await line.turn(4)
    redis_client.xdel(keys.events(0), added[6])
    seen = await read_overview(client, deployment)
    assert seen.fleet.partitions[0].lag is None
    assert seen.lag == [5]
    redis_client.xgroup_destroy(keys.events(0), "tracker")
    redis_client.xtrim(keys.events(0), minid=added[4], approximate=False)
    assert (await read_overview(client, deployment)).lag == [4]
