"""`status-tracker run` on a real server, compared with the model key by key."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from status_tracker.keys import Keys, Layout

from tests.acceptance.producers import produce
from tests.acceptance.tracker import assert_as_modelled, drained, tracker
from tests.events import id_in, update
from tests.servers import Redis, Server, wait_until

SINGLE = Keys("status", "single")

STOPS_WITHIN = 3.0
"""Seconds: one to stop, and two for a slow machine."""


def has_more(client: Redis, changes: int) -> bool:
    """Tell whether a worker has committed since there were so many changes."""
    return int(client.xlen("status:changes")) > changes


@pytest.mark.parametrize("layout", ["single", "cluster"])
def test_thousands_of_updates_end_as_modelled(
    server: Server, redis_client: Redis, tmp_path: Path, layout: Layout
) -> None:
    """The whole line, in both layouts, with half of the updates there before the worker is."""
    keys = Keys("status", layout)
    produce(redis_client, keys, seed=1, count=6_000)
    with tracker(tmp_path, "--redis-url", server.url, "--layout", layout):
        produce(redis_client, keys, seed=2, count=6_000)
        wait_until(lambda: drained(redis_client, keys))
    model = assert_as_modelled(redis_client, keys)
    assert model.applied > 5_000
    assert model.duplicates > 50
    assert model.forwards
    assert len({rejection.reason for rejection in model.rejected}) >= 5


def test_what_comes_at_once_is_committed_together(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Whatever number of partitions a worker has, it is the number of commits that costs."""
    redis_client.config_resetstat()
    entities = iter(range(10**6))

    def are_together() -> bool:
        """Send to all partitions in one step, and count the commands that write statuses.

        A read that waited brings only one partition before Redis 7.2, the next one all others.
        """
        name = f"e{next(entities)}-"
        ids = [id_in(number, 4, name) for number in range(4)]
        before = writes(redis_client)
        with redis_client.pipeline(transaction=True) as pipeline:
            for number, entity in enumerate(ids):
                pipeline.xadd(SINGLE.events(number), {"data": update(entity, "pending")})
            pipeline.execute()
        keys = [SINGLE.partition(0).status("task", entity) for entity in ids]
        wait_until(lambda: redis_client.exists(*keys) == len(keys))
        return writes(redis_client) <= before + 2

    with tracker(tmp_path, "--redis-url", server.url):
        wait_until(are_together)  # a partition's first second is its own


def writes(client: Redis) -> int:
    """Return how often statuses were written."""
    return int(client.info("commandstats").get("cmdstat_mset", {"calls": 0})["calls"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stops_within_a_second_and_loses_nothing(
    server: Server, redis_client: Redis, tmp_path: Path, number: signal.Signals
) -> None:
    """A stop in the middle of a backlog ends in exit code 0, and the next worker goes on."""
    produce(redis_client, SINGLE, seed=3, count=10_000)
    with tracker(tmp_path, "--redis-url", server.url) as first:
        wait_until(lambda: redis_client.xlen("status:changes"))
        assert first.stop(number, within=STOPS_WITHIN) == 0
    assert first.events("worker_stopped")
    with tracker(tmp_path, "--redis-url", server.url):
        wait_until(lambda: drained(redis_client, SINGLE))
    assert_as_modelled(redis_client, SINGLE)


def test_a_hangup_that_is_ignored_stays_ignored(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Under `nohup` a worker goes on when its terminal is closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with tracker(tmp_path, "--redis-url", server.url) as running:
            running.tells("keys_created")
            os.kill(running.pid, signal.SIGHUP)
            produce(redis_client, SINGLE, seed=4, count=1_000)
            wait_until(lambda: drained(redis_client, SINGLE))
            assert running.stop() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_idle_worker_stops_too(server: Server, tmp_path: Path) -> None:
    """A blocking read does not hold up a stop."""
    with tracker(tmp_path, "--redis-url", server.url) as idle:
        idle.tells("keys_created")
        assert idle.stop(within=STOPS_WITHIN) == 0


def test_kill_and_restart_end_as_modelled(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Kill -9 in the middle of the work, four times over, neither loses nor repeats an effect."""
    interrupted = 0
    for seed in range(4):
        produce(redis_client, SINGLE, seed=seed, count=6_000)
        # One name, so that the next one need not wait for the leases of the killed one.
        with tracker(tmp_path, "--redis-url", server.url, "--name", "victim") as victim:
            wait_until(partial(has_more, redis_client, redis_client.xlen("status:changes")))
            victim.kill()
        interrupted += not drained(redis_client, SINGLE)
    assert interrupted, "every worker was done before it was killed: this proves nothing"
    with tracker(tmp_path, "--redis-url", server.url, "--name", "victim"):
        wait_until(lambda: drained(redis_client, SINGLE))
    assert_as_modelled(redis_client, SINGLE)


def test_two_workers_at_once_end_as_modelled(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """They share the partitions while the updates come: the effects are those of one."""
    with (
        tracker(tmp_path / "one", "--redis-url", server.url),
        tracker(tmp_path / "two", "--redis-url", server.url),
    ):
        for seed in range(4):
            produce(redis_client, SINGLE, seed=seed, count=4_000)
        wait_until(lambda: drained(redis_client, SINGLE), within=30)
    assert_as_modelled(redis_client, SINGLE)


def test_reads_over_a_unix_socket(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """A `unix://` URL is as good as a `redis://` one; the database may be a query."""
    produce(redis_client, SINGLE, seed=5, count=100)
    with tracker(tmp_path, STATUS_REDIS_URL=f"{server.socket_url}?db=0"):
        wait_until(lambda: drained(redis_client, SINGLE))
    assert_as_modelled(redis_client, SINGLE)
