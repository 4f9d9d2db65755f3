"""What workers tell Prometheus and the probes: what is, through kills, outages and the end."""

import json
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from status_tracker.keys import Keys

from tests.acceptance.producers import produce
from tests.acceptance.tracker import Tracker, assert_as_modelled, drained, tracker
from tests.command import environment
from tests.model import retries
from tests.scrape import Said, Scrape, asked, in_docs
from tests.servers import Redis, Server, binaries, free_port, wait_until

SINGLE = Keys("status", "single")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One kind of server will do: metrics are not about it. It keeps an append-only file."""
    with Server(binaries()["valkey"], tmp_path / "server", "--appendonly", "yes") as server:
        yield server


@pytest.fixture
def redis_client(server: Server) -> Iterator[Redis]:
    """A blocking client; its replies are text."""
    with server.client() as client:
        yield client


@contextmanager
def served(folder: Path, url: str, *arguments: str) -> Iterator[tuple[Tracker, int]]:
    """Run a worker with a port for metrics and probes."""
    port = free_port()
    options = ["--redis-url", url, "--metrics-port", str(port), *arguments]
    with tracker(folder, *options) as worker:
        wait_until(lambda: worker.has_ended or asked(port, "/livez"))
        assert not worker.has_ended, worker.log
        yield worker, port


def ready(port: int) -> bool:
    """Tell whether a worker says that it is ready."""
    said = asked(port, "/readyz")
    return said is not None and said.status == 200


def not_ready(port: int, why: str) -> bool:
    """Tell whether a worker says that it is not ready, for a reason."""
    said = asked(port, "/readyz")
    return said is not None and said.status == 503 and why in said.text


def total(scrapes: Sequence[Scrape], name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """Return the values of a metric of several workers, in sum."""
    return sum((each.values(name, *labels) for each in scrapes), Counter())


def test_what_is_scraped_is_what_was_sent(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """Of two workers in sum; and of the deployment, whoever was killed meanwhile.

    Every name in the docs is exported as it is described there, and no other one.
    """
    with (
        served(tmp_path / "a", server.url, "--name", "a") as (killed, first),
        served(tmp_path / "b", server.url, "--name", "b") as (_, second),
    ):
        wait_until(lambda: Scrape(first).value("partitions_owned") == 2)
        produce(redis_client, SINGLE, seed=1, count=2_000)
        wait_until(lambda: drained(redis_client, SINGLE))
        model = assert_as_modelled(redis_client, SINGLE)
        # A commit is counted right after it.
        wait_until(
            lambda: (
                sum(Scrape(each).value("commit_entries_sum") for each in (first, second))
                == model.endings.total()
            )
        )
        both = [Scrape(first), Scrape(second)]
        assert total(both, "entries_total", "outcome", "reason") == model.endings
        changes = [each for each in model.changes if "removed" not in each]
        phases = Counter((each["kind"], each["phase"]) for each in changes)
        assert total(both, "changes_total", "kind", "phase") == phases
        kinds = Counter({(kind,): count for kind, count in retries(model.changes).items()})
        assert total(both, "retries_total", "kind") == kinds
        for each in both:
            moves = each.values("partition_moves_total", "move")
            kept = moves["taken",] - moves["given",] - moves["lost",]
            assert kept == each.value("partitions_owned")
        for name in ("latency_seconds_count", "commit_entries_sum"):
            assert sum(each.value(name) for each in both) == model.endings.total()

        produce(redis_client, SINGLE, seed=2, count=1_000)
        killed.kill()
        produce(redis_client, SINGLE, seed=3, count=1_000)
        wait_until(lambda: drained(redis_client, SINGLE))
        model = assert_as_modelled(redis_client, SINGLE)
        wait_until(lambda: Scrape(second).value("workers") == 1)
        found = Scrape(second)
        assert found.values("deployment_entries_total", "outcome", "reason") == model.endings
        assert found.values("entities", "kind", "phase") == model.counts
        assert found.value("partitions_owned") == found.value("partitions") == 4
        assert found.values("partition_moves_total", "move")["taken",] >= 4
        assert found.value("lag_entries") == found.value("lag_seconds") == 0
        documented = in_docs()
        assert found.types() == {name: kind for name, (kind, _) in documented.items()}
        labels = found.labels().items()
        assert {name: documented[name][1] for name, _ in labels if name in documented} == {
            name: own for name, own in labels if name in documented
        }


def test_probes_through_an_outage(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """A worker says that it lives, and why it is not ready, at once, whatever the server does.

    One that stands by is ready, too.
    """
    with (
        served(tmp_path / "a", server.url, "--partitions", "1", "--name", "a") as (worker, port),
        served(tmp_path / "b", server.url, "--partitions", "1", "--name", "b") as (_, other),
    ):
        wait_until(lambda: ready(port) and ready(other))
        said = {asked(each, "/readyz") for each in (port, other)}
        assert said == {Said(200, "ok\n"), Said(200, "ok: standing by\n")}
        lag = wait_until(lambda: asked(port, "/lag"))
        assert (lag.status, json.loads(lag.text)["lag"]) == (200, 0)

        server.stop()
        wait_until(lambda: not_ready(port, "unreachable"))
        wait_until(lambda: Scrape(port).value("deployment_age_seconds") > 3)
        assert Scrape(port).value("entities") == Scrape(port).value("lag_entries") == 0
        assert Scrape(port).values("server_errors_total", "type")["ConnectionError",] > 0
        refused = wait_until(lambda: asked(port, "/lag"))
        assert refused.status == 503
        assert asked(port, "/livez") == Said(200, "ok\n")
        server.start()
        wait_until(lambda: ready(port) and ready(other))

        server.signal(signal.SIGSTOP)
        try:
            wait_until(lambda: not_ready(port, ""))
            assert asked(port, "/livez") == Said(200, "ok\n")
            worker.send(signal.SIGTERM)
            wait_until(lambda: not_ready(port, "stopping"))
            assert worker.exit_code() == 0
        finally:
            server.signal(signal.SIGCONT)


def test_a_worker_that_waits_for_its_server_lives(tmp_path: Path) -> None:
    """It is not ready, and says what it waits for."""
    with served(tmp_path, f"redis://127.0.0.1:{free_port()}/0") as (worker, port):
        wait_until(lambda: not_ready(port, "unreachable"))
        assert asked(port, "/livez") == Said(200, "ok\n")
        assert asked(port, "/nothing") == Said(404, "there are /metrics, /livez, /readyz, /lag\n")
        assert [asked(port, path, "HEAD") for path in ("/livez", "/readyz", "/metrics")] == [
            *(Said(200, ""), Said(503, ""), Said(200, "")),
        ]
        assert worker.stop() == 0


def test_a_port_that_somebody_else_has(tmp_path: Path) -> None:
    """A worker that nobody could probe does not start: it says so in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with tracker(tmp_path, "--metrics-port", str(port)) as refused:
            assert refused.exit_code() == 78
    wanted = f"status-tracker: metrics_port: cannot listen on 127.0.0.1, port {port}: "
    assert refused.log.startswith(wanted)
    assert refused.log.count("\n") == 1


def test_a_host_that_is_none(tmp_path: Path) -> None:
    """Whatever a name looks like, one line says that it is wrong."""
    options = ["--metrics-port", str(free_port())]
    with tracker(tmp_path, *options, STATUS_METRICS_HOST="a" * 100) as refused:
        assert refused.exit_code() == 78
    assert refused.log.startswith("status-tracker: metrics_port: cannot listen on aaa")
    assert refused.log.count("\n") == 1


def test_metrics_without_their_extra() -> None:
    """Whoever asks for metrics that are not installed is told what to install."""
    program = (
        "import sys; sys.modules['prometheus_client'] = None; "
        "sys.argv[1:] = ['run', '--metrics-port', '9464']; "
        "from status_tracker.cli import main; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 78
    assert ran.stderr == (
        "status-tracker: metrics_port: what serves metrics is not installed: "
        "pip install 'status-tracker[metrics]'\n"
    )
