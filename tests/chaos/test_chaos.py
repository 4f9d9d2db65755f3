"""Each fault on its own under load, and all of them mixed: every effect is the model's."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest
from status_tracker.keys import Keys

from tests.chaos import faults
from tests.chaos.effects import check
from tests.chaos.producer import Producer, producing
from tests.chaos.round import harm, play, settle, verify
from tests.chaos.sampler import sample
from tests.chaos.schedule import of_server, schedule
from tests.chaos.sites import PARTITIONS, Layout
from tests.chaos.system import Pace, System
from tests.servers import Redis, binaries, wait_until

PACE = Pace(ttl=1_000, heartbeat=100)

KEYS = Keys("status", "single")

RATE = 2_000.0
"""Updates per second."""


@pytest.fixture(params=binaries().items(), ids=lambda item: item[0])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """Two workers, each of which reads its share."""
    with System(request.param[1], tmp_path, workers=2, pace=PACE) as system:
        with system.client() as client:
            wait_until(lambda: (seen := sample(client, KEYS)).balanced and len(seen.workers) == 2)
        yield system


LAST_LOG = "chaos-*/worker-3/tracker.log"
"""Of the last worker that a round begins with."""


def said(text: str) -> Callable[[System], int]:
    """Count how often a worker said something."""
    return lambda system: system.log.count(text)


def answered(error: str) -> Callable[[System], int]:
    """Count how often the server answered with an error, since it started."""

    def count(system: System) -> int:
        with system.client() as client:
            errors = client.info("errorstats")
        return int(errors.get(f"errorstat_{error}", {"count": 0})["count"])

    return count


def starts(system: System) -> int:
    """Count how often the server was ready."""
    log = (system.victim().folder / "server.log").read_text()
    return log.count("Ready to accept connections")


def refused_while_loading(system: System) -> int:
    """Count the workers' scripts that a server refused which has only just come back."""
    if starts(system) == 1:
        return 0
    with system.client() as client:
        scripts = client.info("commandstats").get("cmdstat_evalsha", {"rejected_calls": 0})
    return int(scripts["rejected_calls"])


Proof = Callable[[System], int]
"""What grows only where a fault really happened, and was met by a worker."""

PROOFS: dict[str, dict[faults.ServerFault, Proof]] = {
    # Each alone: a worker says once that a server is out of reach, until all in it are well again.
    "connections killed": {faults.connections_killed: said("trying again until it works")},
    "connections cut": {faults.connections_cut: said("trying again until it works")},
    "reply swallowed": {faults.reply_swallowed: lambda system: system.swallowed},
    "server killed": {faults.server_killed: said("trying again until it works")},
    "server loading": {faults.server_loading: refused_while_loading},
    "refusals": {
        faults.server_full: said("maxmemory"),
        faults.server_without_replicas: said("NOREPLICAS"),
        faults.server_read_only: said("read only replica"),
        faults.server_busy: said("BUSY"),
    },
    "keys": {
        # The first: what it takes is not compared.
        faults.database_flushed: said("missing or replaced"),
        faults.scripts_flushed: answered("NOSCRIPT"),
        faults.groups_destroyed: said("recreated group"),
    },
}
"""Faults that strike one after the other, and the proof of each."""


def read_of_each(client: Redis) -> list[int]:
    """Count the entries that were read of each partition."""
    partitions = (KEYS.partition(number).partition for number in range(PARTITIONS))
    return [int(client.hget(key, "entries") or 0) for key in partitions]


def entries(client: Redis) -> int:
    """Count the entries that were read in all."""
    return sum(read_of_each(client))


def owners(client: Redis) -> set[str | None]:
    """Return the names that the leases hold; None where one is free."""
    return {*sample(client, KEYS).owners}


def more_is_read(system: System) -> None:
    """Wait until more was read of each partition."""
    with system.client() as client:
        before = read_of_each(client)
        wait_until(lambda: all(map(int.__gt__, read_of_each(client), before)))


def strike(system: System, producer: Producer, fault: faults.ServerFault, proof: Proof) -> None:
    """Have a fault until a worker has met it, and then wait until all is well again."""
    before = proof(system)
    with fault(system):
        wait_until(lambda: proof(system) > before)
    added = producer.added
    wait_until(lambda: producer.added > added)
    more_is_read(system)


@pytest.mark.parametrize("proofs", PROOFS.values(), ids=PROOFS)
def test_faults_of_the_server(system: System, proofs: dict[faults.ServerFault, Proof]) -> None:
    """No effect is lost, doubled or reordered, and the work goes on as soon as it can."""
    with producing(system.site.server_of, system.keys, 1, RATE) as producer:
        more_is_read(system)
        for fault, proof in proofs.items():
            strike(system, producer, fault, proof)
    settle(system)
    with system.client() as client:
        check(client, system.keys, producer.added, flushed=faults.database_flushed in proofs)


@pytest.mark.parametrize(
    ("fault", "ends_with"),
    [(faults.worker_killed, -signal.SIGKILL), (faults.worker_stopped, 0)],
    ids=["killed", "stopped"],
)
def test_a_worker_that_goes(system: System, fault: faults.WorkerFault, ends_with: int) -> None:
    """The other one takes over, and gives back when a new one comes."""
    victim = system.workers[0]
    with (
        producing(system.site.server_of, system.keys, 1, RATE) as producer,
        system.client() as client,
    ):
        wait_until(lambda: entries(client) > 500)
        with fault(system, 0):
            wait_until(lambda: owners(client) == {system.workers[1].name})
            assert victim.exit_code() == ends_with
        wait_until(lambda: owners(client) == {worker.name for worker in system.workers})
    settle(system)
    with system.client() as client:
        check(client, system.keys, producer.added, flushed=False)


@pytest.mark.parametrize(
    "fault", [faults.worker_frozen, faults.worker_held_up], ids=["frozen", "held up"]
)
def test_a_worker_that_is_away_for_longer_than_its_lease(
    system: System, fault: faults.WorkerFault
) -> None:
    """The other one takes over; what comes of the first one after that has no effect."""
    away, other = system.workers
    with (
        producing(system.site.server_of, system.keys, 1, RATE) as producer,
        system.client() as client,
    ):
        wait_until(lambda: entries(client) > 500)
        with fault(system, 0):
            wait_until(lambda: owners(client) == {other.name})
            read = entries(client)
            wait_until(lambda: entries(client) > read + 500)
        away.says("lease")
        wait_until(lambda: owners(client) == {away.name, other.name})
    settle(system)
    with system.client() as client:
        check(client, system.keys, producer.added, flushed=False)


def test_everything_at_once(tmp_path: Path) -> None:
    """A round of the runner, short, with every fault there is."""
    report = play(binaries()["valkey"], tmp_path, "15", PACE, mixed=8.0)
    of_workers = {"worker killed", "worker stopped", "worker frozen", "worker held up"}
    assert report.faults.keys() == of_workers | {*map(faults.name, chain(*PROOFS.values()))}
    assert report.kills >= 10
    assert report.checked.events > 10_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_runner_that_is_ended_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    """A CI runner that stops it, or a terminal that is closed, ends what it started."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as runner:
        wait_until(lambda: [log for log in tmp_path.glob(LAST_LOG) if log.read_text()])
        runner.send_signal(number)
        runner.wait(30)
    with pytest.raises(ProcessLookupError):
        os.killpg(runner.pid, signal.SIGKILL)


@pytest.mark.parametrize("layout", ["cluster", "masters"])
def test_everything_at_once_where_forwards_come_before_commits(
    tmp_path: Path, layout: Layout
) -> None:
    """The same faults, and some of their own; the harm of a round without its calm time."""
    steps = schedule("15", 3, PACE, 8.0, layout, flush=False)
    drawn = {step.name for step in chain.from_iterable(steps)}
    assert drawn >= {*map(faults.name, of_server(layout))}
    with System(binaries()["valkey"], tmp_path, workers=3, pace=PACE, layout=layout) as system:
        keys = system.keys
        with producing(system.site.server_of, keys, 1, RATE) as producer:
            harm(system, steps)
        settle(system)
        with system.client() as client:
            assert check(client, keys, producer.added, flushed=False).forwards > 1_000
        verify(system)


def test_a_seed_says_what_is_done() -> None:
    """The same faults, for as long and in the same order, each time; others with another seed."""

    def drawn(seed: str) -> list[list[tuple[str, float, float]]]:
        tracks = schedule(seed, 4, PACE, 60.0, "single", flush=True)
        return [[(step.name, step.pause, step.hold) for step in steps] for steps in tracks]

    assert drawn("1") == drawn("1")
    assert drawn("1") != drawn("2")
