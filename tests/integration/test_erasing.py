"""What `forget --everywhere` takes out of the streams, and what it leaves to others."""

import json
from collections.abc import Iterator

import pytest
from status_tracker import FeedGapError
from status_tracker.cli.forget.erasing import Erased, Eraser
from status_tracker.cli.forget.traces import Traces
from status_tracker.client.sync_shell import SyncShell
from status_tracker.connection.url import connect
from status_tracker.engine.common_store import CommonStore
from status_tracker.keys import Layout
from status_tracker.metadata import Deployment

from tests.events import NOW, id_in, update
from tests.integration.test_client_feed import first
from tests.integration.test_commit import MakeLine, fill
from tests.integration.test_history import RULES_WITH_HISTORY
from tests.line import deployed
from tests.publishing import Publisher
from tests.servers import Redis, Server
from tests.shells import Shell

GONE, OTHER = id_in(0), id_in(0, prefix="other")
EVENTS = "status:events:{0}"


@pytest.fixture
def sync_shell(server: Server) -> Iterator[SyncShell]:
    """What the command asks the server by."""
    shell = SyncShell(server.url)
    yield shell
    shell.close()


def erase(shell: SyncShell, deployment: Deployment, *ids: str) -> Erased:
    """Take tasks out of everything, as if they had been removed just now."""
    traces = Traces("task", ids, deployment.keys)
    return Eraser(shell, deployment, traces, 0).erase(lambda _: None)


async def test_applied_entries_go_and_unread_ones_stay(
    line: MakeLine, redis_client: Redis, sync_shell: SyncShell, server: Server
) -> None:
    """And nobody misses them: lag stays a number, and the owner finds nothing lost or odd."""
    one = line(rules=RULES_WITH_HISTORY)
    await one.attach()
    fill(
        redis_client,
        EVENTS,
        update(GONE, "pending"),
        update(OTHER, "pending"),
        update(GONE, "waiting", NOW + 1),
        f'{{"kind":"task","id":"{GONE}", cut'.encode(),
        update(OTHER, "waiting", NOW + 1),
    )
    await one.turn()
    client = connect(server.url)
    common = CommonStore(client, deployed().keys, 4, max_changes=100, max_rejected=100)
    for unread in (0, 2):
        fill(redis_client, EVENTS, *[update(GONE, "running", NOW + 2)] * unread)
        erased = erase(sync_shell, deployed(partitions=4), GONE)
        taken = (erased.changes, erased.rejected, erased.updates, erased.left)
        assert taken == ((0, 0, 0, {}) if unread else (2, 1, 3, {}))
        assert redis_client.xlen(EVENTS) == 2 + unread
        [group] = redis_client.xinfo_groups(EVENTS)
        assert (group["lag"], group["entries-read"]) == (unread, 5)
        assert await common.glance({0: (one.cursor, 1)}, 0) == []
        attached = await one.look()
        assert (attached.cursor, attached.created, attached.lost) == (one.cursor, (), 0)
    await client.close()
    batch = await one.turn()
    assert (batch.applied, sum(batch.duplicates.values())) == (1, 1)
    assert redis_client.hget("status:partition:{0}", "lost") is None
    streams = [redis_client.xrange(key) for key in ("status:changes", "status:rejected")]
    assert sum(GONE in str(entry) for stream in streams for entry in stream) == 1


async def test_what_another_group_has_not_read_stays(
    line: MakeLine, redis_client: Redis, sync_shell: SyncShell
) -> None:
    """It is counted, with whom it waits for."""
    one = line()
    await one.attach()
    ids = fill(
        redis_client,
        EVENTS,
        update(GONE, "pending"),
        update(GONE, "waiting", NOW + 1),
        update(OTHER, "pending"),
    )
    await one.turn()
    redis_client.xgroup_create(EVENTS, "audit", ids[0])
    where = f"{EVENTS}, which group audit has not read or acknowledged"
    erased = erase(sync_shell, deployed(partitions=4), GONE)
    assert (erased.updates, erased.left) == (1, {where: 1})
    assert [entry for entry, _ in redis_client.xrange(EVENTS)] == ids[1:]
    # Once it has read it, it still is to acknowledge it.
    redis_client.xreadgroup("audit", "someone", {EVENTS: ">"})
    erased = erase(sync_shell, deployed(partitions=4), GONE)
    assert (erased.updates, erased.left) == (0, {where: 1})
    redis_client.xack(EVENTS, "audit", *ids)
    erased = erase(sync_shell, deployed(partitions=4), GONE)
    assert (erased.updates, erased.left) == (1, {})
    assert [entry for entry, _ in redis_client.xrange(EVENTS)] == ids[2:]


async def test_a_stream_that_its_owner_has_still_to_look_at(
    line: MakeLine, redis_client: Redis, sync_shell: SyncShell
) -> None:
    """In the place of one that was read there may be another, of which nothing was read."""
    one = line()
    await one.attach()
    fill(redis_client, EVENTS, update(GONE, "pending"), update(OTHER, "pending"))
    await one.turn()
    [first, last] = redis_client.xrange(EVENTS)
    redis_client.rename(EVENTS, "{0}:aside")
    for entry_id, fields in (first, last):
        redis_client.xadd(EVENTS, fields, id=entry_id)
    for there in (False, True):
        if there:
            redis_client.xgroup_create(EVENTS, "tracker", "0")
        erased = erase(sync_shell, deployed(partitions=4), GONE)
        assert (erased.updates, sum(erased.left.values())) == (0, 1)
    assert redis_client.xlen(EVENTS) == 2


@pytest.mark.parametrize("layout", ["single", "cluster"])
def test_the_notice_of_this_run_stays(
    redis_client: Redis, sync_shell: SyncShell, layout: Layout
) -> None:
    """Of earlier ones those go that name an entity, also beside others."""
    published = Publisher(redis_client, deployed(layout=layout, partitions=4))
    for _ in range(2):
        published.change(GONE, "pending")
        published.change(OTHER, "pending")
        published.remove(OTHER, GONE)
    published.change(GONE, "pending")
    published.change(OTHER, "pending")
    traces = Traces("task", [GONE], published.deployment.keys)
    eraser = Eraser(sync_shell, published.deployment, traces, 0)
    published.remove(GONE)
    erased = eraser.erase(lambda _: None)
    assert (erased.changes, erased.notices) == (5, 1)
    changes = published.deployment.keys.partition(0).changes
    *rest, (_, last) = redis_client.xrange(changes)
    assert last == {"removed": json.dumps([["task", GONE]])}
    assert [json.loads(fields["data"])["id"] for _, fields in rest] == [OTHER] * 3
    again = erase(sync_shell, published.deployment, GONE)
    assert (again.changes, again.notices) == (1, 0)
    assert GONE not in str(redis_client.xrange(changes))


def test_who_follows_the_feed(
    shell: Shell, server: Server, published: Publisher, sync_shell: SyncShell
) -> None:
    """At its end nobody notices; who is before what was taken out is told that there is a gap."""
    reader = shell.reader(server.url)
    token = reader.snapshot("task").token
    changes = reader.changes(after=token)
    for phase in ("pending", "waiting"):
        published.change(GONE, phase)
        published.change(OTHER, phase)
    seen = [next(changes) for _ in range(4)]
    traces = Traces("task", [GONE], published.deployment.keys)
    eraser = Eraser(sync_shell, published.deployment, traces, 0)
    published.remove(GONE)
    removal = next(changes)
    assert (removal.id, removal.status) == (GONE, None)
    assert eraser.erase(lambda _: None).changes == 2
    published.change(OTHER, "running")
    assert next(changes).status.phase == "running"
    changes.close()
    # The second of the two that were taken out stood in third place.
    for before in (token, seen[0].token, seen[1].token):
        with pytest.raises(FeedGapError, match="somebody deleted changes after it"):
            first(reader, before)
    # Places after it still count, also that of an entry which is not there any more.
    assert first(reader, seen[2].token).id == OTHER
    assert first(reader, seen[3].token).id == GONE
    assert first(reader, removal.token).id == OTHER
    # A mirror from a new snapshot is right.
    assert set(reader.snapshot("task").statuses) == {OTHER}


def test_large_entries_are_read_a_few_at_a_time(redis_client: Redis, sync_shell: SyncShell) -> None:
    """Each is looked at once, however the size of a page changes between them."""
    published = Publisher(redis_client, deployed(partitions=4))
    for number in range(60):
        large = b'{"kind":"task","id":"%b","x":"%b"}' % (GONE.encode(), b"x" * 60_000)
        published.reject(GONE, "invalid", large if number % 20 > 10 else b"{}")
        published.reject(OTHER, "invalid", b'{"kind":"task","id":"%b"}' % OTHER.encode())
    looked: list[int] = []
    traces = Traces("task", [GONE], published.deployment.keys)
    eraser = Eraser(sync_shell, published.deployment, traces, 0)
    assert eraser.size() == 120
    assert eraser.erase(looked.append).rejected == 27
    assert sum(looked) == 120
    assert redis_client.xlen("status:rejected") == 93
