"""Producers and dashboards of a deployment on a real Redis Cluster, by both shells."""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from status_tracker.cli.forget.erasing import Eraser
from status_tracker.cli.forget.traces import Traces
from status_tracker.client.sync_shell import SyncShell
from status_tracker.keys import Keys, partition_of

from tests.clusters import ServerCluster
from tests.command import invoked
from tests.events import id_in, update
from tests.integration.dashboard.asking import acting, listening, site
from tests.line import deployed
from tests.publishing import Publisher
from tests.servers import Redis, binaries, wait_until
from tests.shells import Shell

DEPLOYMENT = deployed(layout="cluster", partitions=4)
KEYS = DEPLOYMENT.keys


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerCluster]:
    """A cluster that the tests share: they leave it whole.

    Of one kind of server: how a cluster answers does not differ, and it takes long to start.
    """
    with ServerCluster(binaries()["valkey"], tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: ServerCluster) -> Iterator[Redis]:
    """A client whose replies are text; the cluster is empty."""
    for master in cluster.masters():
        with master.client() as own:
            own.flushall()
    with cluster.client() as client:
        yield client


@pytest.fixture
def published(client: Redis) -> Publisher:
    """A deployment on it."""
    return Publisher(client, DEPLOYMENT)


@pytest.fixture(params=["one node", "seeds", "client"])
def source(request: pytest.FixtureRequest, shell: Shell, cluster: ServerCluster) -> Any:
    """How a user may say where the cluster is."""
    if request.param == "one node":
        return cluster.url
    if request.param == "seeds":
        return cluster.seeds
    return shell.cluster(cluster.masters()[0].port, decode_responses=True)


IDS = [f"t-{number}" for number in range(40)]


def test_all_partitions_are_read_and_written(
    shell: Shell, source: Any, published: Publisher, client: Redis
) -> None:
    """Wherever they are, by any way in."""
    reader, emitter = shell.reader(source), shell.emitter(source)
    for each in IDS:
        published.change(each, "running")
    assert [status.phase for status in reader.get_many("task", IDS).values()] == ["running"] * 40
    assert list(reader.list("task", "running", newest=False).statuses) == IDS
    assert reader.counts("task")["running"] == 40
    for each in IDS:
        published.reject(each, "stale")
    oldest = [each.at for each in reader.rejected().entries]
    assert [each.at for each in reader.rejected(newest=True, limit=40).entries] == oldest[::-1]
    assert len({each.entry for each in reader.rejected(newest=True).entries}) == 40
    assert reader.find("task", "t-1?").statuses.keys() == {f"t-1{number}" for number in range(10)}
    token = reader.snapshot("task").token
    for each in IDS:
        published.change(each, "completed")
    with closing(reader.changes(after=token)) as changes:
        assert {next(changes).id for _ in IDS} == set(IDS)
    assert reader.wait("task", IDS[0], timeout=5).phase == "completed"
    emitter.emit_many({"kind": "task", "id": each, "phase": "pending"} for each in IDS)
    streams = [client.xrange(KEYS.events(number)) for number in range(4)]
    assert sorted(
        json.loads(fields["data"])["id"] for entries in streams for _, fields in entries
    ) == sorted(IDS)


def test_a_feed_is_followed_by_any_way_in(shell: Shell, source: Any, published: Publisher) -> None:
    """Also where nothing else was asked before: one node knows only its own slots."""
    token = shell.reader(source).snapshot("task").token
    for each in IDS:
        published.change(each, "running")
    with closing(shell.reader(source).changes(after=token)) as changes:
        assert {next(changes).id for _ in IDS} == set(IDS)
    published.change(IDS[0], "completed")
    assert shell.reader(source).wait("task", IDS[0], timeout=5).phase == "completed"


def test_each_change_comes_once(shell: Shell, cluster: ServerCluster, published: Publisher) -> None:
    """However often it is resumed; the order of each entity is kept."""
    luck = random.Random(3)
    reader = shell.reader(cluster.url)
    token = reader.snapshot("task").token
    made = []
    for _ in range(120):
        entity, phase = luck.choice(IDS[:10]), luck.choice(["pending", "waiting", "running"])
        published.change(entity, phase)
        made.append((entity, phase))
    seen: list[tuple[str, str]] = []
    while len(seen) < len(made):
        with closing(reader.changes(after=token)) as changes:
            for _ in range(min(luck.randrange(1, 30), len(made) - len(seen))):
                event = next(changes)
                seen.append((event.id, event.status.phase))
                token = event.token
    for entity in IDS[:10]:
        own = [[phase for each, phase in some if each == entity] for some in (made, seen)]
        assert own[0] == own[1]


def test_a_slot_that_moves_is_followed(
    shell: Shell, cluster: ServerCluster, published: Publisher, client: Redis
) -> None:
    """In its middle, and to its new node, with the feed's end that somebody waits at."""
    entity = id_in(1)
    reader, emitter = shell.reader(cluster.url), shell.emitter(cluster.url)
    published.change(entity, "running")
    assert reader.task(entity).phase == "running"
    emitter.task(entity, "running", progress=0.1)
    move = cluster.begin_move(KEYS.events(1))
    emitter.task(entity, "running", progress=0.2)
    move.move_keys(100)
    assert reader.task(entity).phase == "running"
    emitter.task(entity, "running", progress=0.3)
    waited: list[str] = []

    def wait() -> None:
        with closing(Shell(shell.name)) as other:
            waiting = other.reader(cluster.url)
            waited.append(waiting.wait("task", entity, timeout=20).phase)

    waiting = threading.Thread(target=wait)
    waiting.start()
    move.end()
    emitter.task(entity, "running", progress=0.4)
    published.change(entity, "completed")
    waiting.join()
    assert waited == ["completed"]
    entries = client.xrange(KEYS.events(1))
    assert [json.loads(fields["data"])["progress"] for _, fields in entries] == [0.1, 0.2, 0.3, 0.4]


def test_a_failover_is_waited_out(
    shell: Shell, cluster: ServerCluster, published: Publisher, client: Redis
) -> None:
    """What is said meanwhile is in the stream, and the feed goes on."""
    entity = id_in(2)
    reader, emitter = shell.reader(cluster.url), shell.emitter(cluster.url, retry_for=30)
    token = reader.snapshot("task").token
    emitter.task(entity, "pending")
    with closing(reader.changes(after=token)) as changes:
        published.change(entity, "pending")
        assert next(changes).status.phase == "pending"
        old = cluster.master_of(KEYS.events(2))
        cluster.kill(old)
        emitter.task(entity, "waiting")
        cluster.await_failover(KEYS.events(2), old)
        old.start()
        cluster.await_whole()
        wait_until(lambda: client.ping(target_nodes=client.ALL_NODES))
        published.change(entity, "waiting")
        assert next(changes).status.phase == "waiting"
    phases = [json.loads(fields["data"])["phase"] for _, fields in client.xrange(KEYS.events(2))]
    assert phases == ["pending", "waiting"]


def test_entities_are_taken_away(
    shell: Shell, source: Any, client: Redis, published: Publisher
) -> None:
    """By entries in the streams of their partitions, whichever node has them."""
    assert shell.emitter(source).remove("task", IDS) == len(IDS)
    removed = []
    for number in range(4):
        [(_, fields)] = client.xrange(KEYS.events(number))
        removed += [entity for _, entity in json.loads(fields["remove"])]
    assert sorted(removed) == sorted(IDS)


def test_traces_are_taken_out_on_each_node(
    cluster: ServerCluster, client: Redis, published: Publisher
) -> None:
    """Of the feeds, the rejected entries and the streams of all partitions."""
    for each in IDS:
        published.change(each, "pending")
        published.reject(each, "stale", f'{{"kind":"task","id":"{each}"}}'.encode())
    for number in range(4):
        last = [
            client.xadd(KEYS.events(number), {"data": f'{{"kind":"task","id":"{each}"}}'})
            for each in (IDS[0], "other")
        ]
        client.xgroup_create(KEYS.events(number), "tracker", last[1])
        client.hset(KEYS.partition(number).partition, "cursor", last[1])
    shell = SyncShell(cluster.seeds)
    traces = Traces("task", IDS[:20], KEYS)
    erased = Eraser(shell, DEPLOYMENT, traces, 0).erase(lambda _: None)
    shell.close()
    assert (erased.changes, erased.rejected, erased.updates, erased.left) == (20, 20, 4, {})


def test_a_move_within_a_cluster(
    cluster: ServerCluster, published: Publisher, client: Redis, tmp_path: Path
) -> None:
    """To other partitions, so to other slots and nodes; and what comes to the old ones follows."""
    for each in IDS:
        published.change(each, "pending")
        published.change(each, "waiting")
    url, moved = ["--redis-url", cluster.url], ["--prefix", "moved"]
    files = [str(tmp_path / name) for name in ("old", "new")]
    assert invoked("export", files[0], *url).code == 0
    imported = invoked("import", files[0], "--partitions", "9", *moved, *url)
    assert imported.lines == [
        "imported: 40 entities; the new deployment has partitions = 9, layout = cluster"
    ]
    assert invoked("export", files[1], *moved, *url).code == 0
    entities = [
        sorted(line for line in Path(file).read_text().splitlines() if '"entity"' in line)
        for file in files
    ]
    assert entities[0] == entities[1]
    assert len(entities[0]) == 40
    client.xadd(KEYS.events(1), {"data": update(id_in(1), "running")})
    bridged = invoked("bridge", "--from-prefix", "status", "--idle", "600ms", *moved, *url)
    assert (bridged.code, bridged.out) == (0, "copied: 1 entries\n")
    [(_, fields)] = client.xrange(Keys("moved", "cluster").events(partition_of(id_in(1), 9)))
    assert fields["data"] == update(id_in(1), "running").decode()


async def test_all_is_told_over_http(cluster: ServerCluster, published: Publisher) -> None:
    """Of all nodes, by the URL of one; changes of all partitions, each once."""
    for each in IDS:
        published.change(each, "running")
    async with acting(cluster.url) as client:
        counts = (await client.get("kinds/task/counts")).json()["counts"]
        page = (await client.get("kinds/task/entities?phase=running&limit=1000")).json()
        fleet = (await client.get("fleet")).json()
        sent = await client.post("remove", json={"kind": "task", "ids": IDS})
    assert (counts["running"], len(page["entities"]), len(fleet["partitions"])) == (40, 40, 4)
    assert sent.json() == {"accepted": 40}
    async with site(cluster.url) as own, listening(own.port) as stream:
        token = (await stream.event()).token
        for each in IDS:
            published.change(each, "completed")
        assert {(await stream.event()).data["id"] for _ in IDS} == set(IDS)
        async with listening(own.port, last_event_id=token) as again:
            await again.event()
            assert {(await again.event()).data["id"] for _ in IDS} == set(IDS)
