"""What is without an update for longer than its limit, on real servers, at the test's own time."""

import json
from contextlib import suppress
from math import inf

import pytest
import redis
from status_tracker.keys import partition_of
from status_tracker.maintenance.stalled import Stalled

from tests.events import id_in
from tests.integration.maintaining import (
    PARTITIONS,
    SECOND,
    T0,
    MakeOwner,
    Owner,
    interruptions,
    rules_of_task,
)
from tests.servers import Redis

LIMIT = 10 * SECOND
RULES = rules_of_task(stalled={"running": "10s", "waiting": "60s"})
ENDING = rules_of_task(stalled={"running": "10s"}, on_stalled="failed")
TASK, OTHER = id_in(0), id_in(0, prefix="other")
STALLED = "status:stalled:task"
LONG_AGO = T0 - 1_000 * SECOND


@pytest.fixture
async def one(owner: MakeOwner) -> Owner:
    """An owner of partition 0 for long, where a task began to run at T0."""
    return await running(owner(RULES, 0))


async def running(one: Owner, *tasks: str) -> Owner:
    """Have an owner own its partition for long, and tasks begin to run at T0."""
    await one.attach()
    await judging(one).look(LONG_AGO)
    for task in tasks or (TASK,):
        await one.say(T0, task, "pending", "waiting", "running")
    return one


def judging(one: Owner, name: str = "") -> Stalled:
    """Return the policy of an owner; there are no leases unless a name is given."""
    return Stalled(one.client, one.known, one.heard, owner=name)


def marked(client: Redis) -> dict[str, float]:
    """Return who is marked, and since when."""
    return dict(client.zrange(STALLED, 0, -1, withscores=True))


async def test_a_mark_stands_from_the_limit_to_the_next_update(
    one: Owner, redis_client: Redis
) -> None:
    """And again when that one is the last for as long."""
    policy = judging(one)
    await policy.look(T0 + LIMIT - 1)
    assert marked(redis_client) == {}
    await policy.look(T0 + LIMIT)
    assert marked(redis_client) == {TASK: T0 + LIMIT}
    await policy.look(T0 + 5 * LIMIT)
    assert marked(redis_client) == {TASK: T0 + LIMIT}, "since when it is stalled does not change"
    await one.say(T0 + 6 * LIMIT, TASK, "running", progress=0.5)
    assert marked(redis_client) == {}
    await policy.look(T0 + 7 * LIMIT - 1)
    assert marked(redis_client) == {}
    await policy.look(T0 + 7 * LIMIT)
    assert marked(redis_client) == {TASK: T0 + 7 * LIMIT}
    await one.say(T0 + 8 * LIMIT, TASK, "completed")
    await policy.look(T0 + 99 * LIMIT)
    assert marked(redis_client) == {}, "a completed task waits for nothing"


async def test_progress_keeps_an_entity_alive(one: Owner, redis_client: Redis) -> None:
    """However long ago it entered its phase; and it is not looked at before that may be over."""
    policy = judging(one)
    for step in range(1, 30):
        await one.say(T0 + step * 5 * SECOND, TASK, "running", progress=step / 100)
        await policy.look(T0 + step * 5 * SECOND + 4_999)
    assert marked(redis_client) == {}
    last = T0 + 29 * 5 * SECOND
    await policy.look(last + LIMIT - 2)
    redis_client.config_resetstat()
    await policy.look(last + LIMIT - 1)
    assert "cmdstat_mget" not in redis_client.info("commandstats")
    await policy.look(last + LIMIT)
    assert marked(redis_client) == {TASK: last + LIMIT}


async def test_a_clock_that_is_behind_does_not_make_an_entity_stalled(
    one: Owner, redis_client: Redis
) -> None:
    """Its updates came, whatever time they give; also of one that began so."""
    policy, behind = judging(one), 600 * SECOND
    await one.say(T0, OTHER, "pending", "waiting", "running", updatedAt=T0 - behind)
    for step in range(1, 6):
        at = T0 + step * 5 * SECOND
        await one.say(at, OTHER, "running", updatedAt=at - behind)
        await policy.look(at + 4_999)
        assert OTHER not in marked(redis_client)
    await policy.look(T0 + 25 * SECOND + LIMIT)
    assert marked(redis_client)[OTHER] == T0 + 25 * SECOND + LIMIT


async def test_after_a_take_over_it_takes_a_whole_limit_more(
    one: Owner, owner: MakeOwner, redis_client: Redis
) -> None:
    """Nobody knows when updates came before; but what was marked stays so."""
    await one.say(T0, OTHER, "pending", "waiting", "running")
    await one.say(T0 + LIMIT, OTHER, "running", progress=0.5)
    await judging(one).look(T0 + LIMIT)
    other = owner(RULES, 0)
    await other.attach()
    policy, begins = judging(other), T0 + 3 * LIMIT
    await policy.look(begins)
    await policy.look(begins + LIMIT - 1)
    assert marked(redis_client) == {TASK: T0 + LIMIT}
    await policy.look(begins + LIMIT)
    assert marked(redis_client) == {TASK: T0 + LIMIT, OTHER: begins + LIMIT}


async def test_a_mark_goes_though_its_owner_does_not_know_of_it_yet(
    one: Owner, owner: MakeOwner, redis_client: Redis
) -> None:
    """Between a take-over and the first look, a commit clears the marks of all it writes."""
    await judging(one).look(T0 + LIMIT)
    other = owner(RULES, 0)
    await other.attach()
    await other.say(T0 + 2 * LIMIT, TASK, "running", progress=0.5)
    assert marked(redis_client) == {}


async def test_wrong_marks_go_at_a_take_over(owner: MakeOwner, redis_client: Redis) -> None:
    """Of an entity that is gone, that is elsewhere by now, or was heard of since."""
    one = await running(owner(RULES, 0), TASK, OTHER)
    await one.say(T0, id_in(0, prefix="done"), "pending", "waiting", "running", "completed")
    wrong = {id_in(0, prefix="done"): T0, id_in(0, prefix="gone"): T0, OTHER: T0 + LIMIT - 1}
    elsewhere = {id_in(1): float(T0)}
    redis_client.zadd(STALLED, {**wrong, **elsewhere, TASK: T0 + LIMIT})
    other = owner(RULES, 0)
    await other.attach()
    await judging(other).look(T0 + LIMIT)
    assert marked(redis_client) == {**elsewhere, TASK: T0 + LIMIT}


async def test_a_backlog_is_read_first(one: Owner, redis_client: Redis) -> None:
    """What came in time counts, however late it is applied; what came too late does not."""
    policy = judging(one)
    one.add(T0 + LIMIT, TASK, "running", progress=0.5)
    await policy.look(T0 + 5 * LIMIT)
    assert marked(redis_client) == {}
    await one.apply()
    one.add(T0 + 3 * LIMIT, TASK, "running", progress=0.6)
    await policy.look(T0 + 5 * LIMIT)
    assert marked(redis_client) == {TASK: T0 + 2 * LIMIT}
    await one.apply()
    assert marked(redis_client) == {}


async def test_an_entity_that_comes_back_in_the_moment_it_is_marked(
    one: Owner, redis_client: Redis
) -> None:
    """A commit that is on its way would leave the mark: so nobody is marked before it is there."""
    policy, line = judging(one), one.lines[0]
    one.add(T0 + 2 * LIMIT, TASK, "running", progress=0.5)
    batch = await line.fold()
    await policy.look(T0 + LIMIT)
    assert marked(redis_client) == {}
    await line.store.commit(batch)
    await policy.look(T0 + LIMIT)
    assert marked(redis_client) == {}, "the commit is not known of yet"
    line.builder.committed(batch)
    await policy.look(T0 + 3 * LIMIT)
    assert marked(redis_client) == {TASK: T0 + 3 * LIMIT}


async def test_only_the_owner_marks(one: Owner, redis_client: Redis) -> None:
    """One whose lease ran out does not know when updates came."""
    policy = judging(one, "me")
    redis_client.set("status:lease:{0}", "another")
    await policy.look(T0 + LIMIT)
    assert marked(redis_client) == {}
    redis_client.set("status:lease:{0}", "me")
    await policy.look(T0 + LIMIT + 1)
    assert marked(redis_client) == {TASK: T0 + LIMIT}


async def test_on_stalled_ends_an_entity(owner: MakeOwner, redis_client: Redis) -> None:
    """By an ordinary update, which says why; two owners add two, of which one is a duplicate."""
    one, other = await running(owner(ENDING, 0)), owner(ENDING, 0)
    await one.say(T0, TASK, "running", attempt=3)
    await other.attach()
    await judging(other).look(T0 - 1_000)
    await judging(one).look(T0 + LIMIT)
    await judging(other).look(T0 + LIMIT)
    await one.apply()
    assert json.loads(redis_client.get(f"status:task:{TASK}") or "") == {
        "phase": "failed",
        "errorMessage": "no update for 10s while running",
        "retries": 0,
        "attempt": 3,
        "updatedAt": T0 + LIMIT,
    }
    assert redis_client.hget("status:partition:{0}", "duplicates") == "1"
    assert marked(redis_client) == {}


async def test_an_entity_that_finishes_as_it_is_ended(
    owner: MakeOwner, redis_client: Redis
) -> None:
    """It is completed: the update that would have ended it is a late one."""
    one = await running(owner(ENDING, 0))
    one.add(T0 + LIMIT + 1, TASK, "completed")
    await judging(one).look(T0 + LIMIT)
    await one.apply()
    assert json.loads(redis_client.get(f"status:task:{TASK}") or "")["phase"] == "completed"
    [(_, rejected)] = redis_client.xrange("status:rejected")
    assert rejected["reason"] == "stale"


async def test_an_update_that_came_to_nothing_is_added_again(
    owner: MakeOwner, redis_client: Redis
) -> None:
    """Here somebody deleted it before it was read; an entity does not hang for that."""
    one = await running(owner(ENDING, 0))
    policy = judging(one)
    await policy.look(T0 + LIMIT)
    [(entry_id, _)] = redis_client.xrevrange("status:events:{0}", count=1)
    redis_client.xdel("status:events:{0}", entry_id)
    await policy.look(T0 + 2 * LIMIT)
    await one.apply()
    assert json.loads(redis_client.get(f"status:task:{TASK}") or "")["phase"] == "failed"


async def test_a_flush_in_the_middle(one: Owner, redis_client: Redis) -> None:
    """Nothing is marked that is not there, and who begins again is judged anew."""
    policy = judging(one)
    await policy.look(T0 + LIMIT)
    redis_client.flushdb()
    await policy.look(T0 + 2 * LIMIT)
    await one.attach()
    await policy.look(T0 + 3 * LIMIT)
    assert marked(redis_client) == {}
    await one.say(T0 + 4 * LIMIT, TASK, "pending", "waiting", "running")
    await policy.look(T0 + 5 * LIMIT)
    assert marked(redis_client) == {TASK: T0 + 5 * LIMIT}


@pytest.mark.parametrize("done", [False, True])
async def test_a_connection_that_is_lost_at_any_command(
    owner: MakeOwner, redis_client: Redis, done: bool
) -> None:
    """Whatever the server did of it: in the end each is marked that is to be, and nobody else."""
    for cut in interruptions(owner(RULES).client, done=done):
        redis_client.flushdb()
        one = await running(owner(RULES, 0), TASK, OTHER)
        policy = Stalled(cut, one.known, one.heard, owner="")
        for now in (T0, T0 + LIMIT, T0 + LIMIT, T0 + LIMIT):
            with suppress(redis.ConnectionError):
                await policy.look(now)
        assert marked(redis_client) == {TASK: T0 + LIMIT, OTHER: T0 + LIMIT}
        await one.say(T0 + 2 * LIMIT, OTHER, "completed")
        assert marked(redis_client) == {TASK: T0 + LIMIT}
    assert cut.number > 8


async def test_many_at_once(owner: MakeOwner, redis_client: Redis) -> None:
    """Also where all have the same score, so that no page ends between two of them."""
    tasks = [f"t{n}" for n in range(24_000) if partition_of(f"t{n}", PARTITIONS) == 0][:5_500]
    one = owner(RULES, 0)
    await one.attach()
    policy = judging(one)
    await policy.look(LONG_AGO)
    for first in range(0, len(tasks), 1_000):
        pipeline = redis_client.pipeline()
        for task in tasks[first : first + 1_000]:
            for phase in ("pending", "waiting", "running"):
                update = {"kind": "task", "id": task, "phase": phase, "updatedAt": T0}
                pipeline.xadd("status:events:{0}", {"data": json.dumps(update)}, id=f"{T0}-*")
        pipeline.execute()
    await one.apply()
    looks = 0
    while await policy.look(T0 + LIMIT) and looks < 20:
        looks += 1
    assert redis_client.zcount(STALLED, T0 + LIMIT, T0 + LIMIT) == len(tasks)
    assert redis_client.zcount(STALLED, -inf, inf) == len(tasks)
