"""Several workers as processes: who has which partition, and that nothing is lost on the way."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from status_tracker.keys import Keys

from tests.acceptance.producers import produce
from tests.acceptance.tracker import Tracker, assert_as_modelled, drained, tracker
from tests.proxy import Proxy
from tests.security import as_user
from tests.servers import Redis, Server, binaries, wait_until

SINGLE = Keys("status", "single")
ROOT = Path(__file__).parents[2]

FOR_EVER = "10m"
"""A lease that does not run out within a test: who has the partition was handed it."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One kind of server will do: the scripts are tested on all of them."""
    with Server(binaries()["valkey"], tmp_path / "server") as server:
        yield server


@pytest.fixture
def redis_client(server: Server) -> Iterator[Redis]:
    """A blocking client; its replies are text."""
    with server.client() as client:
        yield client


@contextmanager
def fleet(folder: Path, url: str, *names: str, **environment: str) -> Iterator[list[Tracker]]:
    """Run a worker of each name."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                tracker(folder / name, "--redis-url", url, "--name", name, **environment)
            )
            for name in names
        ]


def shares(client: Redis, partitions: int = 4) -> dict[str | None, int]:
    """Return how many partitions each owner has."""
    return Counter(client.mget([SINGLE.lease(number) for number in range(partitions)]))


def owner(client: Redis, number: int = 0) -> str | None:
    """Return the owner of a partition."""
    name: str | None = client.get(SINGLE.lease(number))
    return name


def test_shares_are_even_and_the_rest_stand_by(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Two, three, then five workers on four partitions: even each time; the fifth says so."""
    with fleet(tmp_path, server.url, "a", "b", STATUS_LEASE_TTL=FOR_EVER):
        wait_until(lambda: shares(redis_client) == {"a": 2, "b": 2})
        with fleet(tmp_path, server.url, "c", STATUS_LEASE_TTL=FOR_EVER):
            wait_until(lambda: sorted(shares(redis_client).values()) == [1, 1, 2])
            with fleet(tmp_path, server.url, "d", "e", STATUS_LEASE_TTL=FOR_EVER) as [d, e]:
                wait_until(lambda: sorted(shares(redis_client).values()) == [1, 1, 1, 1])
                wait_until(
                    lambda: d.events("standing_by", workers=5) + e.events("standing_by", workers=5)
                )
                assert redis_client.zcard("status:workers") == 5


def test_a_stopped_worker_hands_everything_back(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Another takes over without waiting for a lease to run out, in the middle of a backlog."""
    with fleet(tmp_path, server.url, "a", "b", STATUS_LEASE_TTL=FOR_EVER) as [a, _]:
        wait_until(lambda: shares(redis_client) == {"a": 2, "b": 2})
        produce(redis_client, SINGLE, seed=1, count=20_000)
        assert a.stop() == 0
        assert redis_client.zrange("status:workers", 0, -1) == ["b"]
        wait_until(lambda: shares(redis_client) == {"b": 4})
        wait_until(lambda: drained(redis_client, SINGLE))
    assert_as_modelled(redis_client, SINGLE)


def test_a_killed_workers_partitions_move(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """When its leases have run out the other one has all partitions, and goes on with them."""
    with fleet(tmp_path, server.url, "a", "b") as [a, b]:
        wait_until(lambda: shares(redis_client) == {"a": 2, "b": 2})
        produce(redis_client, SINGLE, seed=1, count=20_000)
        a.kill()
        wait_until(lambda: shares(redis_client) == {"b": 4})
        wait_until(lambda: drained(redis_client, SINGLE))
        assert not b.events("lease_lost")
    assert_as_modelled(redis_client, SINGLE)


def test_a_worker_that_cannot_reach_the_server_stops_in_time(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """It stops its partitions while the leases are still its own, and takes part again later."""
    slow = {"STATUS_LEASE_TTL": "3s", "STATUS_HEARTBEAT": "500ms"}
    with Proxy(server) as proxy, fleet(tmp_path, proxy.url, "a", **slow) as [a]:
        wait_until(lambda: shares(redis_client) == {"a": 4})
        proxy.freeze()
        for number in range(4):
            a.tells("lease_lost", partition=number)
        assert shares(redis_client) == {"a": 4}, "it stopped after its leases had run out"
        with fleet(tmp_path, server.url, "b", **slow):
            wait_until(lambda: shares(redis_client) == {"b": 4})
            produce(redis_client, SINGLE, seed=1, count=2_000)
            proxy.thaw()
            wait_until(lambda: shares(redis_client) == {"a": 2, "b": 2}, within=30)
            produce(redis_client, SINGLE, seed=2, count=2_000)
            wait_until(lambda: drained(redis_client, SINGLE))
    assert_as_modelled(redis_client, SINGLE)


def test_a_flushed_database_is_shared_again(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Leases and heartbeats are gone with the rest; who finds that first may have it all once."""
    with fleet(tmp_path, server.url, "a", "b", STATUS_LEASE_TTL=FOR_EVER):
        wait_until(lambda: shares(redis_client) == {"a": 2, "b": 2})
        redis_client.flushdb()
        produce(redis_client, SINGLE, seed=1, count=1_000)
        wait_until(lambda: drained(redis_client, SINGLE))
        wait_until(lambda: shares(redis_client) == {"a": 2, "b": 2})
        produce(redis_client, SINGLE, seed=2, count=1_000)
        wait_until(lambda: drained(redis_client, SINGLE))
    assert_as_modelled(redis_client, SINGLE)


def test_without_leases_the_cursor_keeps_it_right(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Workers that all read everything, and are killed at it, have the effect of one."""
    url = as_user("worker", server.url)

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.acceptance.leaseless", url]
        with (tmp_path / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, stderr=log)

    workers = [start(), start()]
    try:
        for seed in range(6):
            produce(redis_client, SINGLE, seed=seed, count=4_000)
            wait_until(lambda: redis_client.exists("status:changes"))
            workers[0].kill()
            workers[0].wait()
            workers = [workers[1], start()]
        wait_until(lambda: drained(redis_client, SINGLE), within=30)
    finally:
        for each in workers:
            each.kill()
            each.wait()
    assert "another worker moved the cursor" in (tmp_path / "log").read_text(), (
        "they never met: this proves nothing"
    )
    assert redis_client.keys("status:lease:*") == []
    assert_as_modelled(redis_client, SINGLE)


def test_a_name_that_is_taken_is_said(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """Two workers of one name would both take the leases for theirs."""
    with fleet(tmp_path, server.url, "a") as [first]:
        wait_until(lambda: owner(redis_client) == "a")
        assert not first.events("namesake_seen")
        with tracker(tmp_path / "second", "--redis-url", server.url, STATUS_NAME="a") as second:
            second.tells("namesake_seen", worker="a")


def test_a_killed_workers_namesake_goes_on_at_once(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """A service that is restarted under its name need not wait for its own leases to run out."""
    for seed in range(2):
        produce(redis_client, SINGLE, seed=seed, count=1_000)
        with fleet(tmp_path, server.url, "a", STATUS_LEASE_TTL=FOR_EVER):
            wait_until(lambda: drained(redis_client, SINGLE))
            # The end of this block kills it.
        assert shares(redis_client) == {"a": 4}
    assert_as_modelled(redis_client, SINGLE)


def test_a_worker_names_itself(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """The name tells where to look for the process."""
    with tracker(tmp_path / "one", "--redis-url", server.url) as one:
        one.reads(0, 1, 2, 3)
        assert re.fullmatch(rf"\S+-{one.pid}-[0-9a-f]{{6}}", owner(redis_client) or "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_procfile_starts_a_fleet(
    server: Server, redis_client: Redis, tmp_path: Path, number: signal.Signals
) -> None:
    """`honcho start -c worker=4`, as the README has it: four workers, and all stop with it."""
    scripts = Path(sys.executable).parent
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("STATUS_")},
        "PATH": f"{scripts}:{os.environ['PATH']}",
        "STATUS_REDIS_URL": as_user("worker", server.url),
    }
    with (tmp_path / "log").open("wb") as log:
        honcho = subprocess.Popen(
            [scripts / "honcho", "start", "-c", "worker=4,dashboard=0"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: sorted(shares(redis_client).values()) == [1, 1, 1, 1], within=30)
        produce(redis_client, SINGLE, seed=1, count=2_000)
        wait_until(lambda: drained(redis_client, SINGLE))
    finally:
        honcho.send_signal(number)
        honcho.wait(15)
    assert redis_client.exists("status:workers", *map(SINGLE.lease, range(4))) == 0
    assert (tmp_path / "log").read_text().count("stopped: ") == 4
    assert_as_modelled(redis_client, SINGLE)
