"""Following the change feed and waiting by it, on a real server."""

import asyncio
import random
import threading
from contextlib import closing
from typing import Any

import pytest
from status_tracker import AsyncStatusReader, FeedGapError, StatusReader
from status_tracker.client import watching

from tests.events import id_in
from tests.line import deployed
from tests.proxy import Proxy
from tests.publishing import Publisher
from tests.servers import Redis, Server, wait_until
from tests.shells import Shell

RACES = 150
"""Waits that race with what they wait for, in each run of the tests; 10,000 were run once."""


def connections(client: Redis) -> int:
    """Return how many clients the server has."""
    return int(client.info("clients")["connected_clients"])


def some_changes(published: Publisher, count: int, luck: random.Random) -> list[tuple[str, str]]:
    """Make changes and removals; return each as it should be told."""
    made = []
    for _ in range(count):
        entity = f"t-{luck.randrange(20)}"
        if ("task", entity) in published.phases and luck.random() < 0.1:
            published.remove(entity)
            made.append((entity, "removed"))
        else:
            phase = luck.choice(["pending", "waiting", "running"])
            published.change(entity, phase)
            made.append((entity, phase))
    return made


def by_entity(changes: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the changes of each entity, whose order is kept."""
    found: dict[str, list[str]] = {}
    for entity, phase in changes:
        found.setdefault(entity, []).append(phase)
    return found


def first(reader: Any, token: str) -> Any:
    """Return the first event after a token."""
    with closing(reader.changes(after=token)) as changes:
        return next(changes)


def told(event: Any) -> tuple[str, str]:
    """Return what an event tells."""
    return event.id, event.status.phase if event.status else "removed"


def test_each_change_comes_once_however_often_it_is_resumed(
    shell: Shell, server: Server, published: Publisher
) -> None:
    """From the token of any event on, by a new reader; removals are told, too."""
    luck = random.Random(17)
    token = shell.reader(server.url).snapshot("task").token
    made = some_changes(published, 150, luck)
    seen: list[tuple[str, str]] = []
    while len(seen) < len(made):
        changes = shell.reader(server.url).changes(after=token)
        for _ in range(min(luck.randrange(1, 30), len(made) - len(seen))):
            event = next(changes)
            seen.append(told(event))
            token = event.token
        changes.close()
    assert by_entity(seen) == by_entity(made)
    if published.deployment.keys.layout == "single":
        assert seen == made


def test_a_removal_of_many_is_resumed_in_its_middle(
    shell: Shell, server: Server, published: Publisher
) -> None:
    """Each entity is told once, though all stand in one entry."""
    ids = [id_in(1, prefix=f"p{number}") for number in range(5)]
    for each in ids:
        published.change(each, "pending")
    reader = shell.reader(server.url)
    token = reader.snapshot("task").token
    published.remove(*ids)
    seen = []
    for _ in ids:
        event = first(reader, token)
        seen.append(event.id)
        token = event.token
    assert seen == ids


def test_a_trimmed_place_is_a_gap(shell: Shell, server: Server, published: Publisher) -> None:
    """Exactly where a change after it is gone; where the feed was replaced, too."""
    own = published.deployment.keys.partition(1)
    entity = id_in(1)
    published.change(entity, "pending")
    reader = shell.reader(server.url)
    token = reader.snapshot("task").token
    for phase in ("waiting", "running", "completed"):
        published.change(entity, phase)
    published.client.xtrim(own.changes, maxlen=3, approximate=False)
    assert first(reader, token).status.phase == "waiting"
    published.client.xtrim(own.changes, maxlen=2, approximate=False)
    with pytest.raises(FeedGapError, match="trimmed"):
        first(reader, token)
    end = reader.snapshot("task").token
    published.client.xtrim(own.changes, maxlen=0, approximate=False)
    published.change(entity, "failed")
    assert first(reader, end).status.phase == "failed"
    published.client.delete(own.changes)
    published.change(entity, "waiting")
    with pytest.raises(FeedGapError, match=r"ends before it|trimmed"):
        first(reader, end)


def test_a_change_that_somebody_deleted_is_a_gap(
    shell: Shell, server: Server, published: Publisher
) -> None:
    """It would be a silent skip."""
    entity = id_in(1)
    reader = shell.reader(server.url)
    token = reader.snapshot("task").token
    published.change(entity, "pending")
    published.change(entity, "waiting")
    changes = published.deployment.keys.partition(1).changes
    [(oldest, _)] = published.client.xrange(changes, count=1)
    published.client.xdel(changes, oldest)
    with pytest.raises(FeedGapError, match=r"deleted|trimmed"):
        first(reader, token)


@pytest.mark.parametrize("layout", ["single", "cluster"])
def test_the_feed_goes_on_after_a_restart(shell: Shell, own_server: Server, layout: Any) -> None:
    """The same iterator, and a token from before it."""
    with own_server.client() as client:
        published = Publisher(client, deployed(layout=layout, partitions=4))
        reader = shell.reader(own_server.url)
        token = reader.snapshot("task").token
        published.change("a", "pending")
        changes = reader.changes(after=token)
        assert told(next(changes)) == ("a", "pending")
        own_server.stop()
        own_server.start()
        published.change("a", "waiting")
        assert told(next(changes)) == ("a", "waiting")
        changes.close()
        with closing(reader.changes(after=token)) as resumed:
            assert [told(next(resumed)) for _ in range(2)] == [("a", "pending"), ("a", "waiting")]


def test_snapshot_and_changes_are_the_whole(
    shell: Shell, server: Server, published: Publisher
) -> None:
    """A dashboard that begins with one and goes on by the other has what is there."""
    luck = random.Random(4)
    some_changes(published, 300, luck)
    reader = shell.reader(server.url)
    before = dict(published.phases)
    snapshot = reader.snapshot("task")
    shown = {each: status.phase for each, status in snapshot.statuses.items()}
    assert shown == {entity: phase for (_, entity), phase in before.items()}
    made = some_changes(published, 100, luck)
    with closing(reader.changes(after=snapshot.token)) as changes:
        for entity, phase in (told(next(changes)) for _ in made):
            if phase == "removed":
                del shown[entity]
            else:
                shown[entity] = phase
    assert shown == {entity: phase for (_, entity), phase in published.phases.items()}


def test_a_wait_ends_where_the_rules_say(
    shell: Shell, server: Server, published: Publisher
) -> None:
    """At once where it is so already; with no time, it looks once."""
    reader = shell.reader(server.url)
    with pytest.raises(TimeoutError, match="task a is without a status after 0 s"):
        reader.wait("task", "a", timeout=0)
    published.change("a", "running", progress=0.5)
    with pytest.raises(TimeoutError, match=r"task a is running after 0\.05 s"):
        reader.wait("task", "a", timeout=0.05)
    assert reader.wait("task", "a", until=["failed", "running"], timeout=0).progress == 0.5
    published.change("v", "ready", kind="asset")
    assert reader.wait("asset", "v", timeout=0).phase == "ready"
    published.change("a", "cancelled")
    assert reader.wait("task", "a").phase == "cancelled"


def test_no_completion_falls_in_between(shell: Shell, server: Server, published: Publisher) -> None:
    """It is made while the wait begins: before the look, after it, or in between."""
    reader = shell.reader(server.url)
    luck = random.Random(5)
    go = threading.Semaphore(0)

    def make() -> None:
        for number in range(RACES):
            go.acquire()
            for _ in range(luck.randrange(400)):
                pass  # a moment that differs
            published.change(f"r-{number}", "failed")
            published.change(f"r-{number}", "waiting")

    making = threading.Thread(target=make)
    making.start()
    for number in range(RACES):
        go.release()
        # Where it looks after both, it is still in the second.
        status = reader.wait("task", f"r-{number}", until=["failed", "waiting"], timeout=20)
        assert status.phase in ("failed", "waiting")
    making.join()


@pytest.mark.parametrize("fault", ["cut", "emptied", "restarted"])
def test_a_wait_outlives_faults(shell: Shell, own_server: Server, fault: str) -> None:
    """A lost connection, a feed that was replaced, a server that was away."""
    with Proxy(own_server) as proxy, own_server.client() as client:
        published = Publisher(client)
        published.change("a", "running")
        reader = shell.reader(proxy.url)

        def break_and_complete() -> None:
            wait_until(lambda: is_followed(client))
            if fault == "cut":
                proxy.cut()
            elif fault == "emptied":
                client.flushall()
                Publisher(client)
            else:
                own_server.stop()
                own_server.start()
            published.change("a", "completed")

        breaking = threading.Thread(target=break_and_complete)
        breaking.start()
        assert reader.wait("task", "a", timeout=20).phase == "completed"
        breaking.join()


def blocked(client: Redis) -> int:
    """Return how many clients wait at the end of a stream."""
    return int(client.info("clients")["blocked_clients"])


def is_followed(client: Redis) -> bool:
    """Tell whether somebody waits at the end of the feed."""
    return blocked(client) > 0


def test_threads_share_one_connection_that_follows(server: Server, published: Publisher) -> None:
    """However many wait; when the last one is gone, so are its thread and its connection."""
    threads, before = set(threading.enumerate()), connections(published.client)
    with StatusReader(server.url) as reader:
        ids = [f"t-{number}" for number in range(20)]
        found: list[str] = []

        def wait(entity: str) -> None:
            found.append(reader.wait("task", entity, timeout=20).phase)

        waiting = [threading.Thread(target=wait, args=(each,)) for each in ids]
        for each in waiting:
            each.start()
        wait_until(lambda: is_followed(published.client))
        for entity in ids:
            published.change(entity, "completed")
        for each in waiting:
            each.join()
        assert found == ["completed"] * len(ids)
    wait_until(lambda: connections(published.client) <= before)
    wait_until(lambda: set(threading.enumerate()) <= threads)


async def test_a_thousand_waits_leave_nothing(server: Server, redis_client: Redis) -> None:
    """They share one connection beside the pool; no task and no connection outlives them."""
    published = Publisher(redis_client)
    luck = random.Random(6)
    tasks, before = asyncio.all_tasks(), connections(redis_client)
    async with AsyncStatusReader(server.url) as reader:
        waits = [
            asyncio.create_task(reader.wait("task", f"t-{number}", timeout=30))
            for number in range(1000)
        ]
        await asyncio.to_thread(wait_until, lambda: is_followed(redis_client))
        assert blocked(redis_client) == 1
        cancelled = [each for each in waits if luck.random() < 0.5]
        for each in cancelled:
            each.cancel()
            if luck.random() < 0.1:
                await asyncio.sleep(0)
        for number in range(1000):
            published.change(f"t-{number}", "completed")
        found = await asyncio.gather(*waits, return_exceptions=True)
        for wait, result in zip(waits, found, strict=True):
            assert wait.cancelled() or result.phase == "completed"  # type: ignore[union-attr]
        assert connections(redis_client) - before <= 18
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(wait_until, lambda: asyncio.all_tasks(loop) == tasks)
    await asyncio.to_thread(wait_until, lambda: connections(redis_client) <= before)


async def test_two_readers_in_one_loop(server: Server, redis_client: Redis) -> None:
    """Neither closes the other's connections, nor hears what only the other waits for."""
    published = Publisher(redis_client)
    async with AsyncStatusReader(server.url) as one, AsyncStatusReader(server.url) as two:
        first = asyncio.create_task(one.wait("task", "a", timeout=20))
        second = asyncio.create_task(two.wait("task", "b", timeout=20))
        await asyncio.to_thread(wait_until, lambda: blocked(redis_client) == 2)
        published.change("b", "completed")
        assert (await second).phase == "completed"
        assert not first.done()
        await two.close()
        published.change("a", "failed")
        assert (await first).phase == "failed"


def test_a_feed_that_cannot_be_followed_is_looked_at_again(
    shell: Shell, server: Server, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody wrote another type over it: the wait looks at the key instead."""
    monkeypatch.setattr(watching, "REFUSED_FOR", 0.05)
    published = Publisher(redis_client)
    published.change("a", "running")
    reader = shell.reader(server.url)

    def spoil() -> None:
        wait_until(lambda: is_followed(redis_client))
        redis_client.set("status:changes", "x")
        key = published.deployment.keys.partition(0).status("task", "a")
        redis_client.set(key, '{"phase":"completed","retries":0,"updatedAt":1700000000000}')

    spoiling = threading.Thread(target=spoil)
    spoiling.start()
    assert reader.wait("task", "a", timeout=20).phase == "completed"
    spoiling.join()
