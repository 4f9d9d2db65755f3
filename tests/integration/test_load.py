"""Loading statuses: those that are there, those that are not, and what is no status."""

from collections.abc import Callable

import pytest
from status_tracker.models import Status
from status_tracker.testing.line import Line

from tests.events import NOW, id_in, update
from tests.servers import Redis

MakeLine = Callable[..., Line]


async def test_loads_what_is_there(line: MakeLine, redis_client: Redis) -> None:
    """Statuses come back as they were published; the others are known to have none."""
    redis_client.set("status:task:a", '{"phase":"running","retries":2,"updatedAt":1700000000000.5}')
    redis_client.set("status:asset:a", '{"phase":"ready","progress":1,"updatedAt":1700000000000}')
    loaded = await line().store.load({"task": ["a", "b"], "asset": ["a", "b"]})
    assert loaded["task"].known == {"a": Status(phase="running", retries=2, updated_at=NOW + 0.5)}
    assert loaded["asset"].known == {"a": Status(phase="ready", progress=1, updated_at=NOW)}
    assert loaded["task"].without == loaded["asset"].without == {"b": None}


async def test_a_status_that_somebody_else_wrote_is_compared_as_it_is(
    line: MakeLine, redis_client: Redis
) -> None:
    """A document with spaces is no other status: it is written over like the tracker's own."""
    entity = id_in(0)
    text = '{"phase": "waiting", "retries": 0, "updatedAt": 1.7e12}'
    redis_client.set(f"status:task:{entity}", text)
    one = line()
    await one.attach()
    for number, phase in enumerate(("running", "completed")):
        redis_client.xadd(one.own.events, {"data": update(entity, phase, NOW + number)})
        batch = await one.fold()
        await one.store.commit(batch)
        one.builder.committed(batch)
        assert batch.effects["task"].texts == ({entity: text} if phase == "running" else {})
    assert '"phase":"completed"' in str(redis_client.get(f"status:task:{entity}"))


@pytest.mark.parametrize(
    "text",
    ["", "hello", "[]", '{"phase":"running"}', '{"phase":5,"retries":0,"updatedAt":2e12}'],
)
async def test_text_that_is_no_status_is_corrupt(
    line: MakeLine, redis_client: Redis, text: str
) -> None:
    """The event is rejected with the key's name, nothing is overwritten, and others go on."""
    broken, sound = id_in(0), id_in(0, prefix="sound")
    redis_client.set(f"status:task:{broken}", text)
    one = line()
    await one.attach()
    for entity_id in (broken, sound):
        redis_client.xadd(one.own.events, {"data": update(entity_id, "pending")})
    await one.turn()

    assert redis_client.get(f"status:task:{broken}") == text
    assert redis_client.exists(f"status:task:{sound}")
    [(_, rejected)] = redis_client.xrange("status:rejected")
    assert rejected["reason"] == "corrupt_state"
    assert f"status:task:{broken}" in rejected["detail"]

    redis_client.delete(f"status:task:{broken}")
    redis_client.xadd(one.own.events, {"data": update(broken, "pending")})
    await one.turn()
    assert redis_client.exists(f"status:task:{broken}"), "once mended, it must go on"


async def test_a_status_key_of_another_type_is_corrupt(line: MakeLine, redis_client: Redis) -> None:
    """MSET would overwrite a list without a word: it must be left alone."""
    redis_client.rpush(f"status:task:{id_in(0)}", "mine")
    one = line()
    await one.attach()
    redis_client.xadd(one.own.events, {"data": update(id_in(0), "pending")})
    await one.turn()
    assert redis_client.lrange(f"status:task:{id_in(0)}", 0, -1) == ["mine"]
    [(_, rejected)] = redis_client.xrange("status:rejected")
    assert rejected["reason"] == "corrupt_state"
    assert f"status:task:{id_in(0)} holds no text" in rejected["detail"]


async def test_a_new_owner_loads_what_the_last_one_wrote(
    line: MakeLine, redis_client: Redis
) -> None:
    """Retries go on counting from the key, also where nothing is in memory."""
    for number, phase in enumerate(("pending", "waiting", "running", "waiting", "running")):
        redis_client.xadd("status:events:{0}", {"data": update(id_in(0), phase, NOW + number)})
        owner = line()
        await owner.attach()
        await owner.turn()
    assert '"retries":1' in str(redis_client.get(f"status:task:{id_in(0)}"))
