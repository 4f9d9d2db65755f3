"""Whose limit passes while something else happens is judged all the same: on real servers."""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
import redis
from msgspec.structs import replace
from status_tracker.connection.client import Client, Command
from status_tracker.keys import partition_of
from status_tracker.maintenance.index import PAGE
from status_tracker.maintenance.stalled import Stalled

from tests.events import id_in
from tests.integration.maintaining import (
    PARTITIONS,
    SECOND,
    T0,
    MakeOwner,
    Owner,
    WithoutNode,
    interruptions,
)
from tests.integration.test_stalled import (
    ENDING,
    LIMIT,
    OTHER,
    RULES,
    STALLED,
    TASK,
    judging,
    marked,
    running,
)
from tests.servers import Redis


class Meddled:
    """A client after whose nth command something else happens, before its reply is used."""

    def __init__(self, client: Client, number: int, meddle: Callable[[], Awaitable[None]]) -> None:
        self.is_cluster = client.is_cluster
        self._client = client
        self._left = number
        self._meddle = meddle

    async def execute(self, *command: str | bytes | int) -> Any:
        """Return the reply to a command."""
        reply = await self._client.execute(*command)
        self._left -= 1
        if self._left == 0:
            await self._meddle()
        return reply

    async def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands."""
        return await self._client.execute_all(commands)

    async def close(self) -> None:
        """Leave it to the other one."""


@pytest.fixture
async def one(owner: MakeOwner) -> Owner:
    """An owner of partition 0 for long, where a task began to run at T0."""
    return await running(owner(RULES, 0))


@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_who_comes_after_one_that_leaves_is_not_passed_over(
    one: Owner, redis_client: Redis, number: int
) -> None:
    """Who leaves a set moves those behind to another rank."""
    early = [f"t{n}" for n in range(8 * PAGE) if partition_of(f"t{n}", PARTITIONS) == 0][:PAGE]
    for task in early:
        one.add(T0, task, "pending", "waiting", "running", updatedAt=T0 - 1)
    one.add(T0 + 1, OTHER, "pending", "waiting", "running")
    await one.apply()

    async def leave() -> None:
        await one.say(T0 + 2, early[0], "completed")
        await one.say(T0 + 2, TASK, "completed")

    policy = Stalled(Meddled(one.client, number, leave), one.known, one.heard, owner="")
    while await policy.look(T0 + LIMIT + 1):
        pass
    await policy.look(T0 + LIMIT + 2)
    assert OTHER in marked(redis_client)


async def test_marks_are_known_after_a_take_over_though_wrong_ones_go(
    one: Owner, owner: MakeOwner, redis_client: Redis
) -> None:
    """More than a page of these come first."""
    gone = [f"t{n}" for n in range(8 * PAGE) if partition_of(f"t{n}", PARTITIONS) == 0][:PAGE]
    await judging(one).look(T0 + LIMIT)
    redis_client.zadd(STALLED, dict.fromkeys(gone, T0))
    other = owner(RULES, 0)
    await other.attach()
    await judging(other).look(T0 + LIMIT)
    assert marked(redis_client) == {TASK: T0 + LIMIT}
    await other.say(T0 + 2 * LIMIT, TASK, "running", progress=0.5)
    assert marked(redis_client) == {}


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_an_update_comes_while_marks_are_read(
    one: Owner, owner: MakeOwner, redis_client: Redis, number: int
) -> None:
    """Its commit took the mark away: it is marked again when its limit passes once more."""
    await judging(one).look(T0 + LIMIT)
    other = owner(RULES, 0)
    await other.attach()

    async def say() -> None:
        await other.say(T0 + LIMIT + 1, TASK, "running", progress=0.5)

    meddled = Meddled(other.client, number, say)
    policy = Stalled(meddled, other.known, other.heard, owner="")
    await policy.look(T0 + LIMIT + 1)
    assert marked(redis_client) == {}
    await policy.look(T0 + 3 * LIMIT)
    assert TASK in marked(redis_client)


async def test_a_shorter_limit_counts_at_once(one: Owner, redis_client: Redis) -> None:
    """Of one whose clock is behind, and who waited for a longer one before."""
    policy, behind = judging(one), 600 * SECOND
    await one.say(T0, OTHER, "pending", "waiting", updatedAt=T0 - behind)
    await policy.look(T0)
    await one.say(T0 + 1, OTHER, "running", updatedAt=T0 + 1 - behind)
    await policy.look(T0 + 2)
    await policy.look(T0 + 1 + LIMIT)
    assert marked(redis_client)[OTHER] == T0 + 1 + LIMIT


async def test_old_updates_and_a_new_one_in_one_batch(one: Owner, redis_client: Redis) -> None:
    """As of a producer who was offline: it entered its phase long before anybody knew of it."""
    policy = judging(one)
    await policy.look(T0 + 30 * SECOND)
    one.add(T0 + 31 * SECOND, OTHER, "pending", "waiting", "running", updatedAt=T0)
    one.add(T0 + 31 * SECOND, OTHER, "running", progress=0.5)
    await one.apply()
    await policy.look(T0 + 40 * SECOND)
    assert OTHER not in marked(redis_client)
    await policy.look(T0 + 41 * SECOND)
    assert marked(redis_client)[OTHER] == T0 + 41 * SECOND


@pytest.mark.parametrize("done", [False, True])
async def test_a_connection_is_lost_when_it_is_time_to_look_again(
    owner: MakeOwner, redis_client: Redis, done: bool
) -> None:
    """Who is to be looked at is not forgotten; and of those that are marked, each mark is known."""
    for cut in interruptions(owner(RULES).client, done=done):
        redis_client.flushdb()
        one = await running(owner(RULES, 0), TASK, OTHER)
        policy = judging(one)
        await one.say(T0 + 1, OTHER, "running", progress=0.5)
        await policy.look(T0 + LIMIT)
        assert marked(redis_client) == {TASK: T0 + LIMIT}
        policy._client = cut
        with suppress(redis.ConnectionError):
            await policy.look(T0 + LIMIT + 1)
        policy._client = one.client
        await one.say(T0 + LIMIT + 2, TASK, "running", progress=0.5)
        await policy.look(T0 + LIMIT + 2)
        assert marked(redis_client) == {OTHER: T0 + LIMIT + 1}
        await policy.look(T0 + 2 * LIMIT + 2)
        assert marked(redis_client) == {OTHER: T0 + LIMIT + 1, TASK: T0 + 2 * LIMIT + 2}
        await one.say(T0 + 2 * LIMIT + 3, OTHER, "completed")
        assert marked(redis_client) == {TASK: T0 + 2 * LIMIT + 2}
    assert cut.number > 3


async def test_a_node_that_is_away_holds_up_no_other(owner: MakeOwner, redis_client: Redis) -> None:
    """In the layout `cluster`; it is told in the end."""
    both = owner(RULES, 0, 1, layout="cluster")
    await running(both, TASK, id_in(1))
    policy = Stalled(WithoutNode(both.client, 0), both.known, both.heard, owner="")
    with pytest.raises(redis.ConnectionError):
        await policy.look(T0 + LIMIT)
    assert redis_client.zrange("status:stalled:{1}:task", 0, -1) == [id_in(1)]


async def test_who_is_marked_is_ended_once_the_rules_say_so(
    one: Owner, redis_client: Redis
) -> None:
    """By a revision of the rules that has `on_stalled`."""
    policy = judging(one)
    await policy.look(T0 + LIMIT)
    one.deployment = replace(one.deployment, rules=ENDING)
    one.lines[0].builder.restart(one.lines[0].cursor, one.deployment)
    await policy.look(T0 + LIMIT + 1)
    await policy.look(T0 + 2 * LIMIT + 1)
    await one.apply()
    assert json.loads(redis_client.get(f"status:task:{TASK}") or "")["phase"] == "failed"
    assert marked(redis_client) == {}
