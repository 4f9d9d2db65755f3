"""Rules that change while workers run: every entry by the revision that its partition had then."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from status_tracker.keys import Keys
from status_tracker.settings import default_file

from tests.acceptance.fleet_command import completed
from tests.acceptance.producers import produce
from tests.acceptance.tracker import assert_as_modelled, drained, tracker
from tests.clusters import ServerCluster
from tests.events import NOW, add, id_in, update
from tests.model import KINDS
from tests.servers import Redis, Server, binaries, wait_until
from tests.wire import Document

SINGLE = Keys("status", "single")

SHIPPED = default_file("rules.toml").read_text()


def kinds(max_retries: int) -> Mapping[str, Document]:
    """Return the shipped kinds with another limit."""
    return {**KINDS, "task": {**KINDS["task"], "max_retries": max_retries}}


def write(folder: Path, max_retries: int) -> str:
    """Write the shipped rules with another limit; return the file's path."""
    file = folder / f"retries-{max_retries}.toml"
    file.write_text(SHIPPED.replace("max_retries = 3 ", f"max_retries = {max_retries} "))
    return str(file)


def apply(url: str, file: str, *options: str) -> None:
    """Put the rules of a file in force."""
    result = completed("rules", "apply", file, "--yes", "--redis-url", url, *options)
    assert (result.returncode, result.stderr) == (0, "")


@contextmanager
def producing(client: Redis, keys: Keys, seed: int) -> Iterator[None]:
    """Add some 2,000 updates per second, as long as the block runs and then to the end of a round.

    Workers and model could do with more, but take their time for it.
    """
    stop = threading.Event()

    def rounds() -> None:
        for number in range(1_000):
            produce(client, keys, seed=seed + number, count=200)
            if stop.wait(0.1):
                return

    thread = threading.Thread(target=rounds)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def taken_up(client: Redis, keys: Keys, revision: int) -> bool:
    """Tell whether every partition goes by a revision."""
    hashes = [keys.partition(number).partition for number in range(4)]
    return {client.hget(each, "revision") for each in hashes} == {str(revision)}


def begun_between(client: Redis, keys: Keys, revision: int) -> int:
    """Return how many partitions took a revision up after some entries and before others."""
    count = 0
    for number in range(4):
        own = keys.partition(number)
        begun = client.hget(own.partition, f"revision:{revision}")
        entries = [entry_id for entry_id, _ in client.xrange(own.events)]
        count += begun in entries[:-1]
    return count


def test_three_workers_under_load(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """The rules change twice, once with a kill -9 between: every effect is as the model's."""
    none, many = (write(tmp_path, each) for each in (0, 50))
    options = ["--redis-url", server.url, "--name"]
    client = redis_client
    with (
        tracker(tmp_path / "one", *options, "one") as one,
        tracker(tmp_path / "two", *options, "two") as two,
        tracker(tmp_path / "three", *options, "three") as three,
    ):
        wait_until(lambda: taken_up(client, SINGLE, 1))
        with producing(client, SINGLE, seed=1):
            wait_until(lambda: int(client.xlen("status:changes")) > 500)
            apply(server.url, none)
            wait_until(lambda: taken_up(client, SINGLE, 2))
            three.kill()
            apply(server.url, many)
            wait_until(lambda: taken_up(client, SINGLE, 3))
        wait_until(lambda: drained(client, SINGLE))
        assert (one.stop(), two.stop()) == (0, 0)
    assert begun_between(client, SINGLE, 2)
    assert begun_between(client, SINGLE, 3)
    model = assert_as_modelled(client, SINGLE, later={2: kinds(0), 3: kinds(50)})
    assert "retries_exhausted" in {each.reason for each in model.rejected}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ServerCluster]:
    """A cluster in which the other masters go on while one is away for good."""
    options = ["--cluster-require-full-coverage", "no"]
    with ServerCluster(binaries()["valkey"], tmp_path / "cluster", *options) as cluster:
        yield cluster


def test_the_master_of_meta_is_away(cluster: ServerCluster, tmp_path: Path) -> None:
    """Who holds a partition's revision goes on by it; who does not waits with it, and says so."""
    none = write(tmp_path, 0)
    # Without the set of workers, nobody would take a partition at all.
    names = (f"status:{number}" for number in range(100))
    keys = next(
        each
        for each in (Keys(name, "cluster") for name in names)
        if cluster.master_of(each.meta) is not cluster.master_of(each.workers)
    )
    options = ["--prefix", keys.prefix, "--layout", "cluster", "--redis-url", cluster.seeds]
    away = cluster.master_of(keys.meta)
    number = next(n for n in range(4) if cluster.master_of(keys.events(n)) is not away)
    task = id_in(number)
    status = keys.partition(number).status("task", task)
    with cluster.client() as client, tracker(tmp_path / "one", *options, "--name", "one") as one:
        wait_until(lambda: taken_up(client, keys, 1))
        with tracker(tmp_path / "two", *options, "--name", "two") as two:
            two.tells("share_changed", workers=2)
            two.pause()  # it does not hear of the next revision
            apply(cluster.seeds, none, "--prefix", keys.prefix)
            wait_until(lambda: taken_up(client, keys, 2), within=30)
            replica = cluster.replica_of(away)
            for node in (replica, away):
                cluster.kill(node)
            add(client, update(task, "pending"), keys=keys)
            wait_until(lambda: client.exists(status), within=30)
            one.kill()
            two.go_on()
            two.says(f"{keys.partition(number).partition} goes by revision 2 of the rules")
            add(client, update(task, "failed", NOW + 1), keys=keys)
            for node in (away, replica):
                node.start()
            cluster.await_whole()
            add(client, update(task, "pending", NOW + 2), keys=keys)
            wait_until(lambda: drained(client, keys), within=40)
            model = assert_as_modelled(client, keys, later={2: kinds(0)})
            assert [each.reason for each in model.rejected] == ["retries_exhausted"]
            assert two.stop() == 0


def test_two_who_begin_at_once_with_different_files(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """One creates the deployment; the other one ends, and says what differs."""
    files = [write(tmp_path, each) for each in (0, 50)]
    with (
        tracker(tmp_path / "one", "--redis-url", server.url, "--rules", files[0]) as one,
        tracker(tmp_path / "two", "--redis-url", server.url, "--rules", files[1]) as two,
    ):
        wait_until(lambda: one.has_ended or two.has_ended)
        refused, other = (one, two) if one.has_ended else (two, one)
        assert refused.exit_code() == 78
        [line] = refused.log.splitlines()
        there = json.loads(redis_client.hget("status:meta", "rules") or "")["task"]["max_retries"]
        assert f"task.max_retries: the deployment has {there}, " in line
        assert f"says {50 - there}. " in line
        assert "status-tracker rules apply" in line
        wait_until(lambda: taken_up(redis_client, SINGLE, 1))
        assert other.stop() == 0


def test_a_worker_with_the_file_of_an_earlier_revision(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Old files in the workers' configuration: a warning, and the newer revision counts."""
    old, new = (write(tmp_path, each) for each in (3, 0))
    options = ["--redis-url", server.url, "--rules", old]
    with tracker(tmp_path / "one", *options):
        wait_until(lambda: taken_up(redis_client, SINGLE, 1))
        apply(server.url, new)
        with tracker(tmp_path / "two", *options) as two:
            two.tells("rules_outdated")
            wait_until(lambda: taken_up(redis_client, SINGLE, 2))
            for at, phase in enumerate(["pending", "failed", "pending"]):
                add(redis_client, update(id_in(1), phase, NOW + at), keys=SINGLE)
            wait_until(lambda: drained(redis_client, SINGLE))
    assert_as_modelled(redis_client, SINGLE, later={2: kinds(0)})


def test_a_lost_meta_key_is_written_back(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """A worker has it in memory, every revision of it; but not where a partition knows better."""
    with tracker(tmp_path, "--redis-url", server.url) as running:
        wait_until(lambda: taken_up(redis_client, SINGLE, 1))
        apply(server.url, write(tmp_path, 0))
        wait_until(lambda: taken_up(redis_client, SINGLE, 2))
        whole = redis_client.hgetall("status:meta")
        redis_client.delete("status:meta")
        wait_until(lambda: redis_client.hgetall("status:meta") == whole)
        redis_client.hset("status:partition:{1}", "revision", 5)
        redis_client.delete("status:meta")
        running.says("status:meta was lost, but status:partition:{1} goes by revision 5")
        add(redis_client, update(id_in(1), "pending"), keys=SINGLE)
        add(redis_client, update(id_in(2), "pending"), keys=SINGLE)
        wait_until(lambda: redis_client.exists(f"status:task:{id_in(2)}"))
        assert not redis_client.exists("status:meta", f"status:task:{id_in(1)}")
        fields = {f"rules:{number}": whole["rules"] for number in range(1, 6)}
        redis_client.hset("status:meta", mapping={**whole, **fields, "revision": "5"})
        wait_until(lambda: redis_client.exists(f"status:task:{id_in(1)}"))
        assert running.stop() == 0


def test_a_worker_that_cannot_read_new_rules_ends(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Those of a newer release: it must not go on by others."""
    with tracker(tmp_path, "--redis-url", server.url) as running:
        wait_until(lambda: taken_up(redis_client, SINGLE, 1))
        text = '{"max_age":"1h"}'
        redis_client.hset("status:meta", mapping={"rules": text, "rules:2": text, "revision": "2"})
        assert running.exit_code() == 78
        assert "rules: status:meta has none that this release can read" in running.log
        assert "Traceback" not in running.log
