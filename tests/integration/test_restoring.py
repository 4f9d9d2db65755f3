"""What `rebuild --apply` writes: one entity at a time, and none that somebody changed meanwhile."""

from status_tracker.connection.client import Client
from status_tracker.connection.url import connect
from status_tracker.maintenance.differences import Pair
from status_tracker.maintenance.restoring import Outcome, restore_entities
from status_tracker.maintenance.snapshot import Entity

from tests.line import deployed
from tests.publishing import Publisher
from tests.servers import Redis, Server


async def test_what_changed_meanwhile(server: Server, redis_client: Redis) -> None:
    """It stays as it is, for nobody looked at it; the others are written, also those to be gone."""
    publisher = Publisher(redis_client, deployed(partitions=1))
    for each in ("a", "b", "c"):
        publisher.change(each, "pending")
    own = publisher.deployment.keys.partition(0)
    found = {
        each: Entity(
            kind="task",
            id=each,
            status=redis_client.get(own.status("task", each)),
            index={"pending": "1"},
        )
        for each in ("a", "b", "c")
    }
    publisher.change("b", "waiting")
    before = redis_client.get(own.status("task", "b"))
    wanted = Entity(kind="task", id="a", status="right", index={"running": "5.5"}, history=["1"])
    pairs = [
        Pair("task", "a", wanted, found["a"]),
        Pair("task", "b", wanted, found["b"]),
        Pair("task", "c", None, found["c"]),
    ]
    client: Client = connect(server.url)
    outcome = await restore_entities(client, publisher.deployment, 0, pairs)
    await client.close()
    assert outcome == Outcome(restored=2, left=1)
    assert redis_client.get(own.status("task", "a")) == "right"
    assert redis_client.zrange(own.phase("task", "running"), 0, -1, withscores=True) == [("a", 5.5)]
    assert redis_client.lrange(own.history("task", "a"), 0, -1) == ["1"]
    assert redis_client.get(own.status("task", "b")) == before
    assert not redis_client.exists(own.status("task", "c"), own.history("task", "c"))
    counts = {
        phase: int(count) for phase, count in redis_client.hgetall("status:counts:task").items()
    }
    assert {phase: count for phase, count in counts.items() if count} == {
        "running": 1,
        "waiting": 1,
    }
