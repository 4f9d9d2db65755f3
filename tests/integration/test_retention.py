"""What has been in its phase for long enough goes, on real servers, at the test's own time."""

import json
from contextlib import suppress

import pytest
import redis
from status_tracker.keys import partition_of
from status_tracker.maintenance.index import PAGE
from status_tracker.maintenance.retention import ENTRIES, MOST_PAGES, Retention
from status_tracker.removal import AT_ONCE
from status_tracker.rules import parse_rules, rules_json

from tests.events import id_in, update
from tests.integration.maintaining import (
    PARTITIONS,
    SECOND,
    T0,
    MakeOwner,
    Owner,
    WithoutNode,
    interruptions,
    rules_of_task,
)
from tests.integration.test_commit import fill
from tests.servers import Redis

TIME = 10 * SECOND
RULES = rules_of_task(retention={"completed": "10s", "failed": "60s"})
TASK, OTHER = id_in(0), id_in(0, prefix="other")
DONE = ("pending", "waiting", "running", "completed")
COMPLETED, EVENTS = "status:phase:task:completed", "status:events:{0}"


@pytest.fixture
async def one(owner: MakeOwner) -> Owner:
    """An owner of partition 0, where a task was completed at T0, and another one waits."""
    one = owner(RULES, 0)
    await one.attach()
    await one.say(T0, TASK, *DONE)
    await one.say(T0, OTHER, "pending", "waiting")
    return one


def retention(one: Owner) -> Retention:
    """Return the policy of an owner."""
    return Retention(one.client, one.known, one.heard)


def removals(client: Redis) -> list[list[object]]:
    """Return what entries of partition 0 take away."""
    entries = client.xrange(EVENTS)
    return [json.loads(fields["remove"]) for _, fields in entries if "remove" in fields]


async def test_what_is_old_goes(one: Owner, redis_client: Redis) -> None:
    """With all that is kept of it, and the feed tells; what is not old, or never goes, stays."""
    policy = retention(one)
    await policy.look(T0 + TIME - 1)
    assert removals(redis_client) == []
    await policy.look(T0 + TIME)
    assert removals(redis_client) == [[["task", TASK, T0, "completed"]]]
    await one.apply()
    assert not redis_client.exists(f"status:task:{TASK}", COMPLETED)
    assert redis_client.hget("status:counts:task", "completed") == "0"
    [(_, told)] = redis_client.xrevrange("status:changes", count=1)
    assert json.loads(told["removed"]) == [["task", TASK]]
    await policy.look(T0 + 1_000 * TIME)
    assert len(removals(redis_client)) == 1
    assert redis_client.exists(f"status:task:{OTHER}")


async def test_what_changes_meanwhile_stays(one: Owner, redis_client: Redis) -> None:
    """An update in the same phase, too: it is looked at again, and goes by its new time."""
    await one.say(T0, OTHER, "failed", errorMessage="a")
    policy = retention(one)
    one.add(T0 + 60 * SECOND, OTHER, "failed", errorMessage="b")
    await policy.look(T0 + 60 * SECOND)
    await one.apply()
    assert redis_client.exists(f"status:task:{OTHER}")
    assert not redis_client.exists(f"status:task:{TASK}")
    fill(redis_client, EVENTS, update(OTHER, "waiting", T0 + 61 * SECOND))
    await one.apply()
    assert await policy.look(T0 + 61 * SECOND) is False
    assert redis_client.exists(f"status:task:{OTHER}")
    fill(redis_client, EVENTS, update(OTHER, "failed", T0 + 62 * SECOND))
    await one.apply()
    await policy.look(T0 + 122 * SECOND)
    await one.apply()
    assert not redis_client.exists(f"status:task:{OTHER}")


async def test_few_entries_of_a_partition_at_a_time(owner: MakeOwner, redis_client: Redis) -> None:
    """So that a million due at once are not in the way of updates."""
    one = owner(RULES, 0)
    await one.attach()
    tasks = [id_in(0, prefix=f"t{number}") for number in range(ENTRIES * AT_ONCE + 7)]
    for task in tasks:
        one.add(T0, task, *DONE)
    await one.apply()
    policy = retention(one)
    for wanted in ([AT_ONCE] * ENTRIES, [7]):
        before = len(removals(redis_client))
        assert await policy.look(T0 + TIME) is True
        assert await policy.look(T0 + TIME) is True, "nothing is added before these are applied"
        assert [len(each) for each in removals(redis_client)[before:]] == wanted
        await one.apply()
        count = redis_client.hget("status:counts:task", "completed")
        assert int(count or 0) == redis_client.zcard(COMPLETED)
    assert await policy.look(T0 + TIME) is False
    assert not redis_client.exists(COMPLETED)


async def test_an_entry_is_bounded_in_bytes(owner: MakeOwner, redis_client: Redis) -> None:
    """The limit of an entry's size holds for these, too."""
    rules = json.loads(rules_json(RULES)) | {"max_event_bytes": "2KiB"}
    one = owner(parse_rules(rules), 0)
    await one.attach()
    tasks = [id_in(0, prefix="ü" * 240 + str(number)) for number in range(5)]
    for task in tasks:
        one.add(T0, task, *DONE)
    await one.apply()
    policy = retention(one)
    for _ in tasks:
        await policy.look(T0 + TIME)
        await one.apply()
    assert not redis_client.exists(COMPLETED)
    assert not redis_client.exists("status:rejected")
    assert 1 < len(removals(redis_client)) <= len(tasks)


async def test_others_partitions_are_others_business(
    one: Owner, owner: MakeOwner, redis_client: Redis
) -> None:
    """However many of theirs are due before ours, ours go; and theirs by their owner."""
    theirs = [f"x{n}" for n in range(20_000) if partition_of(f"x{n}", PARTITIONS) == 1]
    redis_client.zadd(COMPLETED, dict.fromkeys(theirs[: MOST_PAGES * PAGE + 1], T0 - 1))
    policy = retention(one)
    assert await policy.look(T0 + TIME) is True
    assert removals(redis_client) == []
    assert await policy.look(T0 + TIME) is True
    assert removals(redis_client) == [[["task", TASK, T0, "completed"]]]
    other = owner(RULES, 1)
    await other.attach()
    redis_client.delete(COMPLETED)
    await other.say(T0, id_in(1), *DONE)
    await retention(other).look(T0 + TIME)
    await other.apply()
    assert not redis_client.exists(f"status:task:{id_in(1)}")


async def test_an_owner_that_could_not_begin_yet(
    one: Owner, owner: MakeOwner, redis_client: Redis
) -> None:
    """As where its partition's hash is of another type: it adds what is due, once."""
    late = owner(RULES, 0)
    policy = retention(late)
    for _ in range(3):
        await policy.look(T0 + TIME)
    assert len(removals(redis_client)) == 1
    await one.apply()
    assert not redis_client.exists(f"status:task:{TASK}")


async def test_an_id_that_somebody_made_up_holds_up_no_other(
    one: Owner, redis_client: Redis
) -> None:
    """An entry with an id that no entity can have is refused whole."""
    for odd in (id_in(0, prefix="a b"), id_in(0, prefix="x" * 260)):
        redis_client.zadd(COMPLETED, {odd: T0 - 1})
        redis_client.set(f"status:task:{odd}", f'{{"phase":"completed","updatedAt":{T0}}}')
    await retention(one).look(T0 + TIME)
    await one.apply()
    assert not redis_client.exists(f"status:task:{TASK}", "status:rejected")


async def test_two_owners_at_once(one: Owner, owner: MakeOwner, redis_client: Redis) -> None:
    """Both add an entry, of which the second one takes nothing away."""
    other = owner(RULES, 0)
    await other.attach()
    await retention(one).look(T0 + TIME)
    await retention(other).look(T0 + TIME)
    assert len(removals(redis_client)) == 2
    await one.apply()
    assert redis_client.hget("status:partition:{0}", "duplicates") == "1"
    assert not redis_client.exists(f"status:task:{TASK}")


async def test_a_stream_that_refuses_holds_up_no_other(
    owner: MakeOwner, redis_client: Redis
) -> None:
    """What was added to the others is known: it is not added again and again."""
    one = owner(RULES, 0, 1)
    await one.attach()
    await one.say(T0, TASK, *DONE)
    await one.say(T0, id_in(1), *DONE)
    redis_client.rename("status:events:{1}", "away")
    redis_client.set("status:events:{1}", "text")
    policy = retention(one)
    for _ in range(3):
        with suppress(redis.ResponseError):
            await policy.look(T0 + TIME)
    assert removals(redis_client) == [[["task", TASK, T0, "completed"]]]


async def test_a_node_that_is_away_holds_up_no_other(owner: MakeOwner, redis_client: Redis) -> None:
    """In the layout `cluster`; it is told in the end."""
    both = owner(RULES, 0, 1, layout="cluster")
    await both.attach()
    await both.say(T0, TASK, *DONE)
    await both.say(T0, id_in(1), *DONE)
    policy = Retention(WithoutNode(both.client, 0), both.known, both.heard)
    with pytest.raises(redis.ConnectionError):
        await policy.look(T0 + TIME)
    [(_, fields)] = redis_client.xrevrange("status:events:{1}", count=1)
    assert json.loads(fields["remove"]) == [["task", id_in(1), T0, "completed"]]


@pytest.mark.parametrize("done", [False, True])
async def test_a_connection_that_is_lost_at_any_command(
    owner: MakeOwner, redis_client: Redis, done: bool
) -> None:
    """An entry may be added twice then, of which the second one takes nothing away."""
    for cut in interruptions(owner(RULES).client, done=done):
        redis_client.flushdb()
        one = owner(RULES, 0)
        await one.attach()
        await one.say(T0, TASK, *DONE)
        policy = Retention(cut, one.known, one.heard)
        for _ in range(2):
            with suppress(redis.ConnectionError):
                await policy.look(T0 + TIME)
        await one.apply()
        assert not redis_client.exists(f"status:task:{TASK}", COMPLETED)
        assert len(removals(redis_client)) in ({1, 2} if cut.was_lost else {1})
    assert cut.number > 2


async def test_a_flush_in_the_middle(one: Owner, redis_client: Redis) -> None:
    """No stream is made by it, and it does not wait for an entry that is gone."""
    policy = retention(one)
    await policy.look(T0 + TIME)
    redis_client.flushdb()
    redis_client.zadd(COMPLETED, {TASK: T0})
    redis_client.set(f"status:task:{TASK}", f'{{"phase":"completed","updatedAt":{T0}}}')
    await policy.look(T0 + TIME)
    assert not redis_client.exists(EVENTS)
    await one.attach()
    await policy.look(T0 + TIME)
    assert removals(redis_client) == [[["task", TASK, T0, "completed"]]]
