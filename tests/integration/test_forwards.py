"""Updates that came to the wrong partition: each is added to the right one, once."""

import time
from collections.abc import Callable

import pytest
import redis
from status_tracker.testing.line import Line

from tests.events import NOW, id_in, update
from tests.integration.test_commit import everything, fill
from tests.servers import Redis

MakeLine = Callable[..., Line]

RECEIVER = "status:events:{2}"
LAST_ID = "18446744073709551615-18446744073709551615"


def forwarded(client: Redis) -> list[str]:
    """Return the data of the entries in the receiver's stream."""
    return [fields["data"] for _, fields in client.xrange(RECEIVER)]


async def test_a_worker_that_is_killed_before_the_commit_forwards_once(
    line: MakeLine, redis_client: Redis
) -> None:
    """Whoever reads the same entries next adds none of them again, and what came after them."""
    killed, heir = line(layout="cluster"), line(layout="cluster")
    await killed.attach()
    first, second = update(id_in(2), "pending"), update(id_in(2), "waiting", NOW + 1)
    ids = fill(redis_client, killed.own.events, first)
    redis_client.set(killed.own.status("task", id_in(0)), "in the way")
    fill(redis_client, killed.own.events, update(id_in(0), "pending"))
    with pytest.raises(Exception, match="status:task"):
        await killed.store.commit(await killed.fold())
    assert forwarded(redis_client) == [first.decode()]
    fill(redis_client, killed.own.events, second)
    await heir.attach()
    await heir.turn()
    assert forwarded(redis_client) == [first.decode(), second.decode()]
    origins = [fields["from"] for _, fields in redis_client.xrange(RECEIVER)]
    assert origins[0] == f"0/{ids[0]}"
    assert redis_client.hget("status:partition:{2}", "from:0") == f"0/{origins[1][2:]}"


async def test_a_forward_that_the_server_lost_is_added_again(
    line: MakeLine, redis_client: Redis
) -> None:
    """A receiver that comes back as it was before has neither the update nor the note of it."""
    one, heir = line(layout="cluster"), line(layout="cluster")
    await one.attach()
    fill(redis_client, one.own.events, update(id_in(2), "pending"))
    batch = await one.fold()
    await one.store.commit(batch)
    sender = redis_client.dump(one.own.partition)
    group = redis_client.dump(one.own.events)
    redis_client.flushdb()
    redis_client.restore(one.own.events, 0, group)
    redis_client.restore(one.own.partition, 0, sender)
    redis_client.hset(one.own.partition, "cursor", "0-0")
    await heir.attach()
    await heir.turn()
    assert len(forwarded(redis_client)) == 1


async def test_a_replaced_stream_may_forward_with_smaller_ids(
    line: MakeLine, redis_client: Redis
) -> None:
    """They are of another epoch: what the note of the last one says is not of them."""
    one = line(layout="cluster")
    await one.attach()
    fill(redis_client, one.own.events, update(id_in(2), "pending"))
    await one.turn()
    redis_client.delete(one.own.events)
    data = update(id_in(2), "waiting", NOW + 1)
    redis_client.xadd(one.own.events, {"data": data}, id="1700000000000-1")
    await one.attach()
    await one.turn()
    assert len(forwarded(redis_client)) == 2
    assert redis_client.hget("status:partition:{2}", "from:0") == "1/1700000000000-1"


@pytest.mark.parametrize("layout", ["single", "cluster"])
@pytest.mark.parametrize(("minutes", "outcome"), [(0, "applied"), (5, "rejected:future")])
async def test_a_forward_was_received_when_the_first_stream_took_it(
    line: MakeLine, redis_client: Redis, layout: str, minutes: int, outcome: str
) -> None:
    """Whether an update is of the future must not depend on when somebody came to forward it."""
    sender, receiver = line(0, layout=layout), line(2, layout=layout)
    await sender.attach()
    now = int(time.time() * 1000)
    added = now - minutes * 60_000
    data = update(id_in(2), "pending", added + 100_000 if minutes else added)
    redis_client.xadd(sender.own.events, {"data": data}, id=f"{added}-1")
    await sender.turn()
    await receiver.attach()
    await receiver.turn()
    assert redis_client.hget(receiver.own.partition, outcome) == "1"


@pytest.mark.parametrize("origin", ["0/1-1", "nonsense", "0/99999999999999999999999-1", "\xff"])
async def test_a_producer_cannot_lift_rule_3(
    line: MakeLine, redis_client: Redis, origin: str
) -> None:
    """Whatever it writes into `from`, an update of the future stays one, and stops nobody."""
    one = line()
    await one.attach()
    data = update(id_in(0), "pending", int(time.time() * 1000) + 100_000)
    redis_client.xadd(one.own.events, {"data": data, "from": origin})
    await one.turn()
    assert redis_client.hget(one.own.partition, "rejected:future") == "1"


async def test_a_future_forward_needs_no_status_and_hides_none(
    line: MakeLine, redis_client: Redis
) -> None:
    """After it is rejected, the status is loaded for what comes behind it in the same read."""
    before, one = line(), line()
    await before.attach()
    fill(redis_client, before.own.events, update(id_in(0), "pending"))
    await before.turn()
    await one.attach()
    data = update(id_in(0), "pending", NOW + 100_000)
    redis_client.xadd(one.own.events, {"data": data, "from": f"1/{NOW}-0"})
    fill(redis_client, one.own.events, update(id_in(0), "waiting", NOW + 1))
    await one.turn()
    assert redis_client.zcard("status:phase:task:waiting") == 1
    assert redis_client.hget(one.own.partition, "rejected:future") == "1"


@pytest.mark.parametrize("layout", ["single", "cluster"])
async def test_a_receiver_without_ids_is_waited_for(
    line: MakeLine, redis_client: Redis, layout: str
) -> None:
    """Nothing is half-written, the message is true, and the owner's recreating it ends the wait."""
    sender, owner = line(0, layout=layout), line(2, layout=layout)
    await sender.attach()
    await owner.attach()
    redis_client.xadd(RECEIVER, {"data": "x"}, id=LAST_ID)
    fill(redis_client, sender.own.events, update(id_in(2), "pending"), update(id_in(0), "pending"))
    batch = await sender.fold()
    before = everything(redis_client)
    with pytest.raises(redis.ResponseError, match="its owner recreates it once it is drained"):
        await sender.store.commit(batch)
    assert everything(redis_client) == before
    await owner.turn()
    assert await owner.attach() == ("ids",)
    await sender.store.commit(batch)
    await owner.turn()
    assert redis_client.exists(owner.own.status("task", id_in(2)))
