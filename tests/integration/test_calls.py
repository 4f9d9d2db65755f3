"""How many commands a commit calls inside its script: in a small one they are what it costs."""

from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
import pytest
from status_tracker.connection.client import Client
from status_tracker.connection.url import connect
from status_tracker.engine.batch import Batch
from status_tracker.engine.commit import commit_call
from status_tracker.lua.commit import commit
from status_tracker.testing.line import Line

from tests.events import NOW, id_in, update
from tests.integration.test_commit import fill
from tests.integration.test_history import RULES_WITH_HISTORY
from tests.servers import Redis, Server

MakeLine = Callable[..., Line]

PROGRESS = 6
"""Cursor and totals; group; statuses; then each of them written."""
CHANGE = 13
"""Besides, the sizes of two sets, one move out of one and into the other, the counts' hash looked
at and written, and the entry in the feed."""
PER_PARTITION = 4
PER_SET = 2
"""Its size, and the move into it or out of it; one more where there are both."""
PER_COUNTS = 2
PER_HISTORY = 2
PER_CHUNK = 2
CHUNK = 3_800


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """What commits are sent by."""
    client = connect(server.url)
    yield client
    await client.close()


async def calls(client: Client, direct: Redis, batches: Sequence[Batch], *lines: Line) -> int:
    """Commit batches in one step; return how many commands the script called."""
    call = commit_call(batches, [each.own for each in lines], {}, max_changes=100, max_rejected=100)
    await client.execute("SCRIPT", "FLUSH")
    direct.config_resetstat()
    await commit(client, call)
    stats = direct.info("commandstats")
    not_ours = {"cmdstat_eval", "cmdstat_evalsha", "cmdstat_config|resetstat", "cmdstat_info"}
    return sum(stat["calls"] for name, stat in stats.items() if name not in not_ours)


async def started(one: Line, direct: Redis, *entities: str) -> None:
    """Have entities run, so that the next commit is not the first one."""
    await one.attach()
    for number, phase in enumerate(("pending", "waiting", "running")):
        fill(direct, one.own.events, *(update(each, phase, NOW + number) for each in entities))
    await one.turn()
    one.builder.heard.marks = {}  # as a worker reads them at its first look


async def test_progress(client: Client, line: MakeLine, redis_client: Redis) -> None:
    """However many entities there are, up to so many that fit one command."""
    one, entities = line(), [id_in(0, prefix=f"e{number}") for number in range(100)]
    await started(one, redis_client, *entities)
    for some in (entities[:1], entities):
        fill(
            redis_client,
            one.own.events,
            *(
                update(each, "running", NOW + 9 + len(some), progress=len(some) / 200)
                for each in some
            ),
        )
        assert await calls(client, redis_client, [await one.fold()], one) == PROGRESS


async def test_statuses_by_the_thousand(
    client: Client, line: MakeLine, redis_client: Redis
) -> None:
    """A command more to look at the next ones, and one to write them."""
    one = line(partitions=1)
    entities = [f"e{number}" for number in range(CHUNK + 1)]
    await started(one, redis_client, *entities)
    updates = [update(each, "running", NOW + 9, progress=0.5) for each in entities]
    fill(redis_client, one.own.events, *updates)
    assert await calls(client, redis_client, [await one.fold()], one) == PROGRESS + PER_CHUNK


async def test_a_change_of_phase(client: Client, line: MakeLine, redis_client: Redis) -> None:
    """Each further change is one entry in the feed; each further set is looked at and written."""
    one, entities = line(), [id_in(0, prefix=f"e{number}") for number in range(4)]
    await started(one, redis_client, *entities)
    fill(redis_client, one.own.events, update(entities[0], "failed", NOW + 9))
    assert await calls(client, redis_client, [await one.fold()], one) == CHANGE
    fill(redis_client, one.own.events, *(update(each, "failed", NOW + 9) for each in entities[1:3]))
    assert await calls(client, redis_client, [await one.fold()], one) == CHANGE + 1
    both = [(entities[3], "completed"), (entities[0], "waiting")]
    fill(redis_client, one.own.events, *(update(*each, NOW + 99) for each in both))
    wanted = CHANGE + 1 + 2 * PER_SET
    assert await calls(client, redis_client, [await one.fold()], one) == wanted
    moves = [update(entities[1], "waiting", NOW + 99), update(entities[0], "failed", NOW + 199)]
    fill(redis_client, one.own.events, *moves)
    batch = await one.fold()
    assert await calls(client, redis_client, [batch], one) == CHANGE + 1 + 2, (
        "out of both, into both"
    )


async def test_marks(client: Client, line: MakeLine, redis_client: Redis) -> None:
    """A set of marks is looked at and written only where somebody in the batch is marked in it.

    Until the marks are known, it is looked at in each commit.
    """
    one, entities = line(), [id_in(0, prefix=f"e{number}") for number in range(3)]
    await started(one, redis_client, *entities)
    one.builder.heard.marks = {"task": {*entities[:2], "elsewhere"}}
    redis_client.zadd("status:stalled:task", dict.fromkeys([*entities[:2], "elsewhere"], NOW))
    fill(redis_client, one.own.events, update(entities[2], "running", NOW + 9))
    assert await calls(client, redis_client, [await one.fold()], one) == PROGRESS
    fill(redis_client, one.own.events, *(update(each, "running", NOW + 9) for each in entities[:2]))
    assert await calls(client, redis_client, [await one.fold()], one) == PROGRESS + PER_SET
    assert redis_client.zrange("status:stalled:task", 0, -1) == ["elsewhere"]
    redis_client.delete("status:stalled:task")
    one.builder.heard.marks = None
    fill(redis_client, one.own.events, update(entities[0], "running", NOW + 19))
    assert await calls(client, redis_client, [await one.fold()], one) == PROGRESS + 1


async def test_two_kinds(client: Client, line: MakeLine, redis_client: Redis) -> None:
    """Another kind has a hash of counts of its own."""
    one, task, asset = line(), id_in(0), id_in(0, prefix="asset")
    await started(one, redis_client, task)
    fill(redis_client, one.own.events, update(asset, "waiting", kind="asset"))
    await one.turn()
    fill(redis_client, one.own.events, update(asset, "processing", NOW + 1, kind="asset"))
    fill(redis_client, one.own.events, update(task, "failed", NOW + 9))
    wanted = CHANGE + 1 + 2 * PER_SET + PER_COUNTS
    assert await calls(client, redis_client, [await one.fold()], one) == wanted


@pytest.mark.parametrize("kept", [1, 20], ids=["at its cap", "with room"])
async def test_a_history(client: Client, line: MakeLine, redis_client: Redis, kept: int) -> None:
    """What is added to, and trimmed where it has to be."""
    rules = msgspec.structs.replace(RULES_WITH_HISTORY, history=kept)
    one, entity = line(rules=rules), id_in(0)
    await started(one, redis_client, entity)
    fill(redis_client, one.own.events, update(entity, "failed", NOW + 9))
    found = await calls(client, redis_client, [await one.fold()], one)
    assert found == CHANGE + (PER_HISTORY if kept == 1 else 1)


async def test_several_partitions(client: Client, line: MakeLine, redis_client: Redis) -> None:
    """Each further one has a hash and a stream; all else is done for all of them at once."""
    lines = [line(number) for number in range(4)]
    entities = [id_in(number) for number in range(4)]
    for each, entity in zip(lines, entities, strict=True):
        await started(each, redis_client, entity)
        fill(redis_client, each.own.events, update(entity, "running", NOW + 9, progress=0.5))
    batches = [await each.fold() for each in lines]
    wanted = PROGRESS + 3 * PER_PARTITION
    assert await calls(client, redis_client, batches, *lines) == wanted
    for each, entity in zip(lines, entities, strict=True):
        fill(redis_client, each.own.events, update(entity, "failed", NOW + 99))
    batches = [await each.fold() for each in lines]
    assert await calls(client, redis_client, batches, *lines) == CHANGE + 3 + 3 * PER_PARTITION
    assert redis_client.zcard("status:phase:task:failed") == 4
    for each in lines:
        assert redis_client.hget(each.own.partition, "entries") == "5"
        assert redis_client.xinfo_groups(each.own.events)[0]["lag"] == 0
