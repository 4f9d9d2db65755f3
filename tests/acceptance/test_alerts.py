"""The alerts on what real workers exported: each trouble is made, scraped, and named."""

import json
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families
from status_tracker.keys import Keys, partition_of

from tests.acceptance.test_metrics import served
from tests.acceptance.tracker import Tracker, drained
from tests.events import add, id_in, update
from tests.scrape import Scrape
from tests.servers import Redis, Server, binaries, wait_until

ALERTS = Path(__file__).parents[2] / "config/alerts.yaml"
KEYS = Keys("status", "single")
STEP = 30
"""Seconds between two scrapes, of Prometheus' time."""

FIRING = 'group by (alertname) (ALERTS{alertstate="firing"})'


class Recording:
    """Series of what workers exported, in which a moment may last for long."""

    def __init__(self) -> None:
        self.steps = 0
        self._series: dict[str, list[str]] = defaultdict(list)
        self._expected: list[tuple[int, list[str]]] = []

    def scrape(self, ports: dict[str, int], minutes: int) -> None:
        """Scrape workers, and let what they say last for so many minutes."""
        count = minutes * 60 // STEP
        for name, port in ports.items():
            for family in text_string_to_metric_families(Scrape(port).text):
                for sample in family.samples:
                    labels = {**sample.labels, "job": "st", "instance": name}
                    text = ",".join(
                        f"{label}={json.dumps(value)}" for label, value in labels.items()
                    )
                    values = self._series[f"{sample.name}{{{text}}}"]
                    values += ["_"] * (self.steps - len(values)) + [f"{sample.value:f}"] * count
        self.steps += count

    def expect(self, *alerts: str, minutes: int = 0) -> None:
        """Note which alerts fire so many minutes after what was scraped last, and no others."""
        self._expected.append((self.steps * STEP + minutes * 60 - STEP, sorted(alerts)))

    def written(self, file: Path) -> Path:
        """Write it as a test of promtool."""
        expected = [
            {
                "expr": FIRING,
                "eval_time": f"{at}s",
                "exp_samples": [
                    {"labels": f'{{alertname="StatusTracker{name}"}}', "value": 1} for name in names
                ],
            }
            for at, names in self._expected
        ]
        series = [
            {"series": name, "values": " ".join([*values, "stale"])}
            for name, values in self._series.items()
        ]
        test = {"interval": f"{STEP}s", "input_series": series, "promql_expr_test": expected}
        file.write_text(
            json.dumps(
                {
                    "rule_files": [str(ALERTS)],
                    "evaluation_interval": f"{STEP}s",
                    "tests": [test],
                }
            )
        )
        return file


def ids(count: int) -> list[str]:
    """Return ids that belong to the first three partitions: nothing ever came to the last one."""
    names = (f"task-{number}" for number in range(10 * count))
    return [name for name in names if partition_of(name, 4) < 3][:count]


def send(client: Redis, phase: str, count: int, *, ahead: float = 0.0) -> None:
    """Say that so many tasks are in a phase, by a clock that is so many seconds ahead."""
    at = int((time.time() + ahead) * 1000)
    for name in ids(count):
        add(client, update(name, phase, at), keys=KEYS)


def until(port: int, name: str, holds: Callable[[float], bool]) -> None:
    """Wait until a worker exports such a value."""
    wait_until(lambda: holds(Scrape(port).value(name)))


def out_of_memory(port: int) -> int:
    """Return how often a worker was told that the server is full."""
    return Scrape(port).values("server_errors_total", "type")["OutOfMemoryError",]


def await_more(count: Callable[[], int]) -> None:
    """Wait until a count grows."""
    before = count()
    wait_until(lambda: count() > before)


class Scene(NamedTuple):
    """Two workers, and what is seen of them."""

    client: Redis
    ports: dict[str, int]
    other: Tracker
    """Of the two, the one that a test may kill."""
    seen: Recording

    def settled(self) -> None:
        """Wait until all updates are read, by workers who have all partitions, and say so."""
        wait_until(lambda: drained(self.client, KEYS))
        for port in self.ports.values():
            until(port, "partitions_owned", lambda owned: owned == 4 / len(self.ports))
            until(port, "partitions_without_owner", lambda free: free == 0)
            until(port, "lag_entries", lambda lag: lag == 0)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """All is well."""
    with (
        Server(binaries()["valkey"], tmp_path / "server") as server,
        server.client() as client,
        served(tmp_path / "a", server.url, "--name", "a") as (_, port),
        served(tmp_path / "b", server.url, "--name", "b") as (other, other_port),
    ):
        ports = {"a": port, "b": other_port}
        for each in ports.values():
            until(each, "workers", lambda workers: workers == 2)
        scene = Scene(client, ports, other, Recording())
        scene.settled()
        yield scene


def have_a_bad_producer(scene: Scene) -> None:
    """It trims what is unread, sends what no step allows, and its clock is ahead."""
    with scene.client.pipeline() as at_once:
        send(at_once, "pending", 50)
        at_once.xtrim(KEYS.events(0), maxlen=0)
        at_once.execute()
    until(scene.ports["a"], "lost_entries_total", lambda lost: lost > 0)
    for number in range(6):
        send(scene.client, "pending", 100, ahead=30 + number)
        send(scene.client, "completed", 60, ahead=30 + number)
        scene.settled()
        scene.seen.scrape(scene.ports, 5)


def have_partitions_that_nobody_reads(scene: Scene) -> None:
    """A worker dies, and one that never takes its share lives."""
    scene.other.kill()
    scene.ports.pop("b")

    def has_a_ghost(free: float) -> bool:
        seconds, microseconds = scene.client.time()
        scene.client.zadd(KEYS.workers, {"ghost": seconds * 1000 + microseconds // 1000})
        return free == 2

    until(scene.ports["a"], "partitions_without_owner", has_a_ghost)
    scene.seen.scrape(scene.ports, 10)


def have_a_full_server(scene: Scene) -> None:
    """It refuses what a worker tries again and again."""
    with scene.client.pipeline() as at_once:
        send(at_once, "pending", 10, ahead=60)
        at_once.config_set("maxmemory", 1)
        at_once.execute()
    for _ in range(2):
        await_more(partial(out_of_memory, scene.ports["a"]))
        scene.seen.scrape(scene.ports, 1)


def have_a_backlog(scene: Scene) -> None:
    """A partition waits for somebody to mend its cursor, and has an entry that came long ago."""
    scene.client.hset(KEYS.partition(3).partition, "cursor", "what an operator mistyped")
    ago = f"{int(time.time() * 1000) - 600_000}-0"
    scene.client.xadd(KEYS.events(3), {"data": update(id_in(3), "pending")}, id=ago)
    until(scene.ports["a"], "lag_seconds", lambda lag: lag > 500)
    scene.seen.scrape(scene.ports, 10)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not there")
def test_each_trouble_has_its_alert(scene: Scene, tmp_path: Path) -> None:
    """No other alert fires meanwhile, and none when it is over."""
    client, seen = scene.client, scene.seen
    seen.scrape(scene.ports, 1)
    send(client, "pending", 300)
    scene.settled()
    seen.scrape(scene.ports, 30)
    seen.expect()
    have_a_bad_producer(scene)
    seen.expect("EntriesLost", "ProducerClock", "Rejections")
    seen.scrape(scene.ports, 70)
    seen.expect()
    have_partitions_that_nobody_reads(scene)
    seen.expect("PartitionWithoutOwner")
    until(scene.ports["a"], "workers", lambda workers: workers == 1)
    scene.settled()
    seen.scrape(scene.ports, 35)
    seen.expect("NoSpareWorker")
    have_a_full_server(scene)
    seen.expect("NoSpareWorker", "ServerFull")
    client.config_set("maxmemory", 0)
    scene.settled()
    seen.scrape(scene.ports, 40)
    seen.expect("NoSpareWorker")
    have_a_backlog(scene)
    seen.expect("Lag", "NoSpareWorker")
    seen.expect("Down", minutes=8)
    recorded = seen.written(tmp_path / "recorded.yaml")
    result = subprocess.run(
        ["promtool", "test", "rules", str(recorded)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
