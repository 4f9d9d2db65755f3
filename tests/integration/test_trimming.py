"""Entries that were applied and are old go; unread ones never. On real servers."""

import logging

import pytest
import redis
from status_tracker.engine.tally import Tally
from status_tracker.maintenance.trimming import Trimming

from tests.events import id_in
from tests.integration.maintaining import SECOND, T0, MakeOwner, Owner
from tests.line import RULES
from tests.servers import Redis

KEPT, HELD = 60 * SECOND, 600 * SECOND
EVENTS = "status:events:{0}"
TASK = id_in(0)


@pytest.fixture
async def one(owner: MakeOwner) -> Owner:
    """An owner of partition 0, who applied 300 entries, which came one each second from T0 on."""
    one = owner(RULES, 0)
    await one.attach()
    for second in range(300):
        one.add(T0 + second * SECOND, id_in(0, prefix=f"t{second}"), "pending")
    await one.apply()
    return one


def trimming(one: Owner, tally: Tally | None = None) -> Trimming:
    """Return the policy of an owner."""
    counts = tally or Tally()
    return Trimming(one.client, one.known, one.heard, counts, retention=KEPT, group_retention=HELD)


async def look(one: Owner, now: int) -> int:
    """Trim until nothing is left to do; return how many entries were counted."""
    tally = Tally()
    policy = trimming(one, tally)
    for _ in range(10):
        if not await policy.look(now):
            return tally.trimmed
    raise AssertionError("there is no end")


def first(client: Redis) -> int:
    """Return when the first entry came that is kept, in seconds after T0."""
    [(entry_id, _)] = client.xrange(EVENTS, count=1)
    return (int(entry_id.partition("-")[0]) - T0) // SECOND


async def test_what_is_old_goes(one: Owner, redis_client: Redis) -> None:
    """To the entry; in the end all of them, and lag and cursor stay what they are."""
    assert await look(one, T0 + 200 * SECOND) == 140
    assert first(redis_client) == 140
    assert await look(one, T0 + 1_000 * SECOND) == 160
    assert redis_client.xlen(EVENTS) == 0
    [group] = redis_client.xinfo_groups(EVENTS)
    assert (group["entries-read"], group["lag"]) == (300, 0)
    attached = await one.lines[0].look()
    assert (attached.created, attached.lost) == ((), 0)
    one.add(T0 + 2_000 * SECOND, TASK, "pending")
    assert redis_client.xinfo_groups(EVENTS)[0]["lag"] == 1
    await one.apply()
    assert redis_client.exists(f"status:task:{TASK}")


async def test_what_grows_old_meanwhile_is_left_to_the_next_look(
    one: Owner, redis_client: Redis
) -> None:
    """Or it would look again and again while updates come; only a backlog of old ones is no end."""
    policy = trimming(one)
    assert await policy.look(T0 + 200 * SECOND) is False
    assert first(redis_client) == 140


async def test_what_is_unread_stays(one: Owner, redis_client: Redis) -> None:
    """However old it is, while its worker is away; another one may trim meanwhile."""
    for second in range(300, 400):
        one.add(T0 + second * SECOND, id_in(0, prefix=f"t{second}"), "pending")
    await look(one, T0 + 10_000 * SECOND)
    assert (first(redis_client), redis_client.xlen(EVENTS)) == (300, 100)
    await one.apply()
    assert redis_client.get(f"status:task:{id_in(0, prefix='t300')}")
    await look(one, T0 + 10_000 * SECOND)
    assert redis_client.xlen(EVENTS) == 0


async def test_a_slow_owner_takes_nothing_that_another_has_not_applied(
    one: Owner, redis_client: Redis
) -> None:
    """Where the hash is older than the group, or the other way round, the earlier one counts."""
    [(entry_id, _)] = redis_client.xrange(EVENTS, T0 + 100 * SECOND, count=1)
    redis_client.hset("status:partition:{0}", "cursor", entry_id)
    await look(one, T0 + 10_000 * SECOND)
    assert first(redis_client) == 101


async def test_a_stream_that_refuses_holds_up_no_other(
    one: Owner, owner: MakeOwner, redis_client: Redis
) -> None:
    """Whatever is wrong with one partition, or with the node that has it; it is told in the end."""
    both = owner(RULES, 3, 0)
    await both.attach()
    redis_client.delete("status:partition:{3}")
    redis_client.set("status:partition:{3}", "text")
    with pytest.raises(redis.ResponseError, match=r"status:partition:\{3\}"):
        await trimming(both).look(T0 + 200 * SECOND)
    assert first(redis_client) == 140


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_another_group_that_lags_is_waited_for(
    one: Owner,
    redis_client: Redis,
    acknowledged: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What it has not read or not acknowledged is kept, and said; but not for ever."""
    redis_client.xgroup_create(EVENTS, "others", 0)
    redis_client.xreadgroup("others", "me", {EVENTS: ">"}, count=50)
    if acknowledged:
        ids = [entry_id for entry_id, _ in redis_client.xrange(EVENTS, count=50)]
        redis_client.xack(EVENTS, "others", *ids)
    with caplog.at_level(logging.WARNING):
        await look(one, T0 + 400 * SECOND)
    assert first(redis_client) == (50 if acknowledged else 0)
    assert "for the consumer group others of status:events:{0}" in caplog.text
    await look(one, T0 + 800 * SECOND)
    assert first(redis_client) == 200
    redis_client.xgroup_destroy(EVENTS, "others")
    await look(one, T0 + 800 * SECOND)
    assert redis_client.xlen(EVENTS) == 0


@pytest.mark.parametrize("missing", ["stream", "group", "hash", "cursor"])
async def test_where_something_is_missing_nothing_is_trimmed(
    one: Owner, redis_client: Redis, missing: str
) -> None:
    """Its owner mends that first: only then is it known what was applied."""
    match missing:
        case "stream":
            redis_client.delete(EVENTS)
        case "group":
            redis_client.xgroup_destroy(EVENTS, "tracker")
        case "hash":
            redis_client.delete("status:partition:{0}")
        case "cursor":
            redis_client.hset("status:partition:{0}", "cursor", "nonsense")
    await look(one, T0 + 10_000 * SECOND)
    assert redis_client.xlen(EVENTS) == (0 if missing == "stream" else 300)
    assert redis_client.exists(EVENTS) == (missing != "stream")
