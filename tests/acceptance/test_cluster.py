"""Workers on a real Redis Cluster: failover, lost writes, slots on the move."""

import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from redis.crc import key_slot
from status_tracker.keys import Keys

from tests.acceptance.producers import produce
from tests.acceptance.test_kinds import OWN_PATHS, assert_own_kinds_as_modelled, rules_file
from tests.acceptance.tracker import Tracker, assert_as_modelled, drained, tracker
from tests.clusters import ServerCluster
from tests.command import invoked
from tests.events import NOW, id_in, update
from tests.servers import Redis, Server, binaries, free_port, wait_until

CLUSTER = Keys("status", "cluster")


@pytest.fixture(scope="module", params=binaries().items(), ids=lambda item: item[0])
def shared_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerCluster]:
    """A cluster that the tests share: they leave it whole."""
    name, binary = request.param
    with ServerCluster(binary, tmp_path_factory.mktemp(name)) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: ServerCluster) -> ServerCluster:
    """The shared cluster, empty."""
    for master in shared_cluster.masters():
        with master.client() as client:
            client.flushall()
    return shared_cluster


@pytest.fixture
def client(cluster: ServerCluster) -> Iterator[Redis]:
    """A blocking client for what a producer or a dashboard would do; its replies are text."""
    with cluster.client() as client:
        yield client


@pytest.fixture
def workers(cluster: ServerCluster, client: Redis, tmp_path: Path) -> Iterator[list[Tracker]]:
    """Two workers; any of the nodes will do as a URL."""
    options = ["--layout", "cluster", "--redis-url"]
    with (
        tracker(tmp_path / "one", *options, cluster.seeds) as one,
        tracker(tmp_path / "two", *options, cluster.url) as two,
    ):
        wait_until(lambda: len(owners(client)) == 2)
        yield [one, two]
        codes = [one.stop(), two.stop()]
    assert codes == [0, 0]
    for each in (one, two):
        assert "Traceback" not in each.log


def owners(client: Redis) -> set[str]:
    """Return who has partitions."""
    return {str(client.get(CLUSTER.lease(number))) for number in range(4)} - {"None"}


def await_drained(client: Redis) -> None:
    """Wait until every partition is read, through whatever happens to the cluster meanwhile."""
    wait_until(lambda: drained(client, CLUSTER), within=40)


@pytest.mark.usefixtures("workers")
def test_ends_as_modelled(cluster: ServerCluster, client: Redis) -> None:
    """The whole line on three masters, forwards from one to another included."""
    for seed in range(2):
        produce(client, CLUSTER, seed=seed, count=5_000)
    await_drained(client)
    model = assert_as_modelled(client, CLUSTER)
    assert model.forwards
    assert client.hgetall(CLUSTER.meta)["layout"] == "cluster"
    assert_verified(cluster, client, len(model.statuses))


def assert_verified(cluster: ServerCluster, client: Redis, entities: int) -> None:
    """Nothing differs on any of the masters; what is broken on each is found, and mended."""
    [report] = invoked("verify", "--json", "--redis-url", cluster.seeds).documents
    assert (report["statuses"], report["entries"]) == (entities, entities)
    assert report["differences"] == {}
    for number in range(4):
        client.zadd(CLUSTER.partition(number).phase("task", "running"), {"nobody": NOW})
    ran = invoked("verify", "--repair", "--json", "--redis-url", cluster.seeds)
    found = ran.documents[0]["differences"]
    assert {what: each["found"] for what, each in found.items()} == {
        "entry_without_status": 4,
        "wrong_count": 4,
    }
    assert ran.code == 0
    assert_as_modelled(client, CLUSTER)


@pytest.mark.usefixtures("workers")
def test_a_killed_master_is_replaced_under_load(cluster: ServerCluster, client: Redis) -> None:
    """Its replica takes over, the workers find it, and everything agrees afterwards."""
    stream = CLUSTER.events(0)
    old = cluster.master_of(stream)
    produce(client, CLUSTER, seed=1, count=10_000)
    wait_until(lambda: client.xlen(CLUSTER.partition(0).changes))
    cluster.kill(old)
    try:
        cluster.await_failover(stream, old)
        produce(client, CLUSTER, seed=2, count=2_000)
        await_drained(client)
        assert_as_modelled(client, CLUSTER)
    finally:
        old.start()
        cluster.await_whole()


def test_own_kinds_when_a_worker_and_a_master_are_killed(
    cluster: ServerCluster, client: Redis, tmp_path: Path
) -> None:
    """Three kinds with attempts, forces and garbage: every key agrees, histories included."""
    options = ["--layout", "cluster", "--rules", rules_file(tmp_path), "--redis-url"]
    own = CLUSTER.partition(0)
    produce(client, CLUSTER, seed=1, count=8_000, paths=OWN_PATHS)
    with (
        tracker(tmp_path / "one", *options, cluster.seeds) as one,
        tracker(tmp_path / "two", *options, cluster.url) as two,
    ):
        wait_until(lambda: client.xlen(own.changes))
        one.kill()
        old = cluster.master_of(own.events)
        cluster.kill(old)
        try:
            cluster.await_failover(own.events, old)
            produce(client, CLUSTER, seed=2, count=2_000, paths=OWN_PATHS)
            await_drained(client)
            assert two.stop() == 0
            assert_own_kinds_as_modelled(client, CLUSTER)
        finally:
            old.start()
            cluster.await_whole()


def test_what_a_failover_loses_it_loses_together(
    cluster: ServerCluster, client: Redis, workers: list[Tracker]
) -> None:
    """Acknowledged writes that no replica had are gone: updates, their statuses and the cursor.

    So no effect is there without its update, and none twice: what a worker still knows from before
    is not written over what the replica has.
    """
    own = CLUSTER.partition(0)
    task = id_in(0)
    key = own.status("task", task)
    client.xadd(own.events, {"data": update(task, "pending")})
    wait_until(lambda: client.exists(key))
    old = cluster.master_of(own.events)
    replica = cluster.replica_of(old)
    with old.client() as direct:
        wait_until(lambda: direct.wait(1, 1000))
        replica.signal(signal.SIGSTOP)
        direct.client_kill_filter(_type="slave")  # or it would find the rest in its socket
        direct.xadd(own.events, {"data": update(task, "waiting", NOW + 1)})
        direct.xadd(own.events, {"data": update(task, "running", NOW + 2)})
        wait_until(lambda: "running" in str(direct.get(key)))
    cluster.kill(old)
    replica.signal(signal.SIGCONT)
    try:
        assert cluster.await_failover(own.events, old) is replica
        assert json.loads(client.get(key))["phase"] == "pending", "nothing was lost: no proof"
        client.xadd(own.events, {"data": update(task, "waiting", NOW + 3)})
        wait_until(lambda: "waiting" in str(client.get(key)), within=40)
        await_drained(client)
        model = assert_as_modelled(client, CLUSTER)
        assert (model.applied, len(model.changes)) == (2, 2)
    finally:
        old.start()
        cluster.await_whole()


@pytest.mark.usefixtures("workers")
def test_a_slot_moves_while_events_flow(cluster: ServerCluster, client: Redis) -> None:
    """ASK and TRYAGAIN on the way, MOVED afterwards: nothing is lost, and the others go on."""
    produce(client, CLUSTER, seed=1, count=5_000)
    await_drained(client)
    moving = CLUSTER.partition(0)
    move = cluster.begin_move(moving.partition)
    halves = client.cluster_countkeysinslot(client.keyslot(moving.partition)) // 2
    move.move_keys(halves)
    for number in range(4):
        # Where the stream is by now, only ASK leads.
        client.xadd(CLUSTER.events(number), {"data": update(id_in(number), "pending")})
    for number in range(1, 4):
        wait_until(partial(client.exists, CLUSTER.partition(number).status("task", id_in(number))))
    move.end()
    produce(client, CLUSTER, seed=2, count=2_000)
    await_drained(client)
    assert_as_modelled(client, CLUSTER)


def test_leases_are_kept_while_a_slot_moves(
    cluster: ServerCluster, client: Redis, workers: list[Tracker]
) -> None:
    """A lease that moved ahead of its slot is renewed by ASK: nobody loses a partition."""

    def owners() -> list[str | None]:
        return [client.get(CLUSTER.lease(number)) for number in range(4)]

    before = wait_until(lambda: all(found := owners()) and found)
    moving = CLUSTER.lease(0)
    move = cluster.begin_move(moving)
    move.move_keys(1_000)
    with move.target.client() as target:

        def left() -> int:
            """Return how many ms the lease has left, on the node that it moved to."""
            pipeline = target.pipeline(transaction=False)
            pipeline.execute_command("ASKING")
            pipeline.pttl(moving)
            return int(pipeline.execute()[1])

        first = left()
        assert first > 0
        wait_until(lambda: left() > first)  # it only grows when it is renewed
    move.end()
    assert owners() == before
    for each in workers:
        assert not each.events("lease_lost")


def test_a_master_that_hangs_holds_up_only_its_own(tmp_path: Path) -> None:
    """Where `workers` is on the one that hangs, the others' leases are renewed, and are read on."""
    options = ["--cluster-require-full-coverage", "no"]
    with (
        ServerCluster(binaries()["valkey"], tmp_path / "cluster", *options) as cluster,
        cluster.client() as client,
    ):
        keys = prefix_with_workers_beside_a_partition(cluster)
        hung = cluster.master_of(keys.workers)
        held_up = [n for n in range(4) if cluster.master_of(keys.events(n)) is hung]
        others = [n for n in range(4) if n not in held_up]
        options = ["--prefix", keys.prefix, "--layout", "cluster", "--redis-url", cluster.seeds]
        with tracker(tmp_path / "worker", *options) as worker:
            worker.reads(0, 1, 2, 3)
            cluster.kill(cluster.replica_of(hung))  # or it would take over
            hung.signal(signal.SIGSTOP)
            try:
                for number in held_up:
                    worker.tells("lease_lost", partition=number)
                for number in others:
                    client.xadd(keys.events(number), {"data": update(id_in(number), "pending")})
                    status = keys.partition(number).status("task", id_in(number))
                    wait_until(partial(client.exists, status))
                    assert not worker.events("lease_lost", partition=number)
            finally:
                hung.signal(signal.SIGCONT)
            wait_until(
                lambda: len(worker.events("share_changed", reading=[0, 1, 2, 3])) > 1, within=40
            )


def prefix_with_workers_beside_a_partition(cluster: ServerCluster) -> Keys:
    """Return keys of which `workers` is on a master with some of the partitions, but not all."""
    for number in range(100):
        keys = Keys(f"status:{number}", "cluster")
        masters = [cluster.master_of(keys.events(partition)) for partition in range(4)]
        if 0 < masters.count(cluster.master_of(keys.workers)) < 4:
            return keys
    raise AssertionError("every partition is on one master")


def test_a_cluster_that_has_no_slots_yet_is_waited_for(tmp_path: Path) -> None:
    """Whoever starts a cluster starts its nodes first; workers may be there before it is one."""
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with Server(binaries()["valkey"], tmp_path / "server", *options) as server:
        arguments = ["--redis-url", server.url, "--layout", "cluster"]
        with tracker(tmp_path / "worker", *arguments) as worker, server.client() as client:
            worker.tells("server_unavailable")
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            worker.reads(0, 1, 2, 3)
            stream = CLUSTER.events(0)
            client.execute_command("CLUSTER", "DELSLOTS", key_slot(stream.encode()))
            wait_until(lambda: len(worker.events("server_unavailable")) > 1)
            client.execute_command("CLUSTER", "ADDSLOTS", key_slot(stream.encode()))
            client.xadd(stream, {"data": update(id_in(0), "pending")})
            status = CLUSTER.partition(0).status("task", id_in(0))
            wait_until(partial(client.exists, status), within=40)
            assert worker.stop() == 0


def test_a_deployment_with_the_other_layout(
    cluster: ServerCluster, client: Redis, tmp_path: Path
) -> None:
    """`auto` does not take what has no place on a cluster: data that somebody copied there."""
    client.hset("status:meta", mapping={"version": "1", "partitions": "4", "layout": "single"})
    with tracker(tmp_path, "--redis-url", cluster.url, "--layout", "auto") as refused:
        assert refused.exit_code() == 78, refused.log
    assert "no place on a Redis Cluster" in refused.log


@pytest.mark.parametrize(
    ("database", "layout", "named"),
    [
        (
            "0",
            "single",
            "layout: configured is single, but the server is part of a Redis Cluster",
        ),
        ("1", "cluster", "redis_url: the server has no such database"),
    ],
)
def test_what_a_cluster_has_no_place_for(
    cluster: ServerCluster, tmp_path: Path, database: str, layout: str, named: str
) -> None:
    """Each ends in one line that says what to change."""
    url = cluster.url.removesuffix("0") + database
    with tracker(tmp_path, "--redis-url", url, "--layout", layout) as refused:
        assert refused.exit_code() == 78, refused.log
    [line] = refused.log.splitlines()
    assert named in line


def test_several_servers_that_are_no_cluster(server: Server, tmp_path: Path) -> None:
    """Which of them is meant cannot be known; to read now one and now another would be worse."""
    url = server.url.replace("127.0.0.1", "127.0.0.1:1,127.0.0.1")
    with tracker(tmp_path, "--redis-url", url) as refused:
        assert refused.exit_code() == 78, refused.log
    assert "which are no cluster" in refused.log
