"""What is stuck is seen, what is old goes, nothing else changes: real workers in real time."""

import json
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from status_tracker.keys import Keys, Layout, partition_of
from status_tracker.settings import default_file

from tests.acceptance.tracker import assert_as_modelled, drained, tracker
from tests.events import add, update
from tests.servers import Redis, Server, wait_until

SHIPPED = default_file("rules.toml").read_text()
SHORT = {'running = "5m"': 'running = "2s"', 'completed = "7d"': 'completed = "1s"'}

STUCK = [f"stuck-{number}" for number in range(40)]
DONE = [f"done-{number}" for number in range(700)]
ALIVE = [f"alive-{number}" for number in range(20)]
BEHIND = [f"behind-{number}" for number in range(20)]
SLOW_CLOCK = 600_000


def write_rules(folder: Path, changes: Mapping[str, str]) -> str:
    """Write the shipped rules with some changes; return the file's path."""
    text = SHIPPED
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    file = folder / "rules.toml"
    file.write_text(text)
    return str(file)


class Producers:
    """Tasks of all sorts, by the clock."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def say(self, entity_id: str, phase: str, **fields: Any) -> None:
        """Add an update with the time of its producer."""
        late = SLOW_CLOCK if entity_id in BEHIND else 0
        at = time.time_ns() // 1_000_000 - late
        add(self._client, update(entity_id, phase, at, **fields), keys=self._keys)

    def begin(self) -> None:
        """Have all begin, and those that are to be done end."""
        for task in (*STUCK, *DONE, *ALIVE, *BEHIND):
            for phase in ("pending", "waiting", "running"):
                self.say(task, phase)
        for task in DONE:
            self.say(task, "completed")

    def go_on_until(self, condition: Callable[[], bool]) -> None:
        """Have those that live gain progress until a condition holds."""

        def holds() -> bool:
            for task in (*ALIVE, *BEHIND):
                self.say(task, "running", progress=time.monotonic() % 1000 / 1000)
            return condition()

        wait_until(holds)


def marked(client: Redis, keys: Keys) -> set[str]:
    """Return who is marked, in any partition."""
    sets = {keys.partition(number).stalled("task") for number in range(4)}
    return {each for key in sets for each in client.zrange(key, 0, -1)}


def phase_of(client: Redis, keys: Keys, task: str) -> str | None:
    """Return the phase of a task; None where it is gone."""
    document = client.get(keys.partition(partition_of(task, 4)).status("task", task))
    return None if document is None else str(json.loads(document)["phase"])


def gone(client: Redis, keys: Keys) -> bool:
    """Tell whether all that was done is taken away."""
    return not any(phase_of(client, keys, task) for task in DONE)


def test_what_is_stuck_is_marked_and_what_is_old_goes(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Two workers, of which one is killed: what lives is never marked, and the model agrees."""
    keys, options = Keys("status", "single"), ["--redis-url", server.url]
    options += ["--rules", write_rules(tmp_path, SHORT)]
    producers = Producers(redis_client, keys)
    with tracker(tmp_path / "1", *options) as first, tracker(tmp_path / "2", *options) as second:
        second.says("reading 2 of 4 partitions")
        producers.begin()
        producers.go_on_until(lambda: gone(redis_client, keys))
        producers.go_on_until(lambda: marked(redis_client, keys) == set(STUCK))
        first.kill()
        killed = time.monotonic()
        producers.go_on_until(
            lambda: marked(redis_client, keys) != set(STUCK) or time.monotonic() > killed + 4
        )
        assert marked(redis_client, keys) == set(STUCK)
        producers.say(STUCK[0], "running", progress=0.9)
        wait_until(lambda: marked(redis_client, keys) == set(STUCK[1:]))
        wait_until(lambda: drained(redis_client, keys))
        assert second.stop() == 0
    assert_as_modelled(redis_client, keys)


@pytest.mark.parametrize("layout", ["single", "cluster"])
def test_what_is_stuck_is_ended_and_its_entries_go(
    server: Server, redis_client: Redis, tmp_path: Path, layout: Layout
) -> None:
    """By an update, once; and the streams keep no entry that is old, but what came is counted."""
    keys = Keys("status", layout)
    rules = {**SHORT, "[task.transitions]": 'on_stalled = "failed"\n[task.transitions]'}
    options = ["--redis-url", server.url, "--layout", layout]
    options += ["--rules", write_rules(tmp_path, {**rules, 'waiting = "6h"': 'waiting = "1h"'})]
    producers = Producers(redis_client, keys)
    with tracker(tmp_path, *options, STATUS_EVENTS_RETENTION="1s") as worker:
        worker.reads(0, 1, 2, 3)
        producers.begin()
        producers.go_on_until(lambda: gone(redis_client, keys))
        producers.go_on_until(
            lambda: all(phase_of(redis_client, keys, task) == "failed" for task in STUCK)
        )
        assert {phase_of(redis_client, keys, task) for task in (*ALIVE, *BEHIND)} == {"running"}
        assert marked(redis_client, keys) == set()
        wait_until(lambda: sum(redis_client.xlen(keys.events(n)) for n in range(4)) == 0)
        wait_until(lambda: drained(redis_client, keys))
        assert worker.stop() == 0
    hashes = [redis_client.hgetall(keys.partition(n).partition) for n in range(4)]
    assert not any("lost" in each or "duplicates" in each for each in hashes)
    document = redis_client.get(keys.partition(partition_of(STUCK[0], 4)).status("task", STUCK[0]))
    assert json.loads(document or "")["errorMessage"] == "no update for 2s while running"


def test_an_outage_makes_nobody_stalled(own_server: Server, tmp_path: Path) -> None:
    """Who could not be heard of for longer than the limit has a whole one from then on."""
    keys = Keys("status", "single")
    options = [
        "--redis-url",
        own_server.url,
        "--rules",
        write_rules(tmp_path, {'running = "5m"': 'running = "4s"'}),
    ]
    # Longer than the outage, so that no partition changes hands.
    lease = {"STATUS_LEASE_TTL": "20s"}
    with tracker(tmp_path, *options, **lease) as worker, own_server.client() as client:
        worker.says("reading 4 of 4 partitions")
        producers = Producers(client, keys)
        producers.begin()
        producers.go_on_until(lambda: marked(client, keys) == set(STUCK))
        own_server.stop(signal.SIGKILL)
        away = time.monotonic()
        worker.says("trying again")
        wait_until(lambda: time.monotonic() > away + 4.5)
        own_server.start()
        worker.says("works again")
        back = time.monotonic()
        # Nobody says anything yet. That may be 3 s after the first partition is back.
        wait_until(lambda: time.monotonic() > back + 0.5)
        assert marked(client, keys) == set(STUCK)
        producers.go_on_until(
            lambda: marked(client, keys) != set(STUCK) or time.monotonic() > back + 4
        )
        assert marked(client, keys) == set(STUCK)
