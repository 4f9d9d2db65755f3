"""A deployment of the first release is taken over while its workers still run.

`tests/first_release.zip` is the package of that release, as it was.
"""

import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from status_tracker.keys import Keys, Layout

from tests.acceptance.tracker import SOON, drained, model_of, tracker
from tests.events import NOW, add, id_in, update
from tests.model import canonical
from tests.security import as_user
from tests.servers import Redis, Server, wait_until

RELEASE = Path(__file__).parents[1] / "first_release.zip"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first release, where Python finds it."""
    folder = tmp_path_factory.mktemp("first-release")
    zipfile.ZipFile(RELEASE).extractall(folder)
    return folder


@contextmanager
def first_release(release: Path, url: str, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker of the first release, which knew nothing of `config/users.acl`."""
    url = as_user("admin", url)
    clean = {name: text for name, text in os.environ.items() if not name.startswith("STATUS_")}
    with (release / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run", "--redis-url", url, *options],
            cwd=release,
            env={**clean, **SOON, "PYTHONPATH": str(release)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def produce(client: Redis, keys: Keys, first: int, count: int) -> None:
    """Add updates of tasks that fail and are retried: each retry counts, so none may come twice."""
    phases = ["pending", "failed", "waiting", "running", "waiting"]
    for number in range(first, first + count):
        name = f"task-{number % 20}"
        phase = phases[number // 20 % len(phases)]
        add(client, update(name, phase, NOW + number), keys=keys)


def assert_once(client: Redis, keys: Keys) -> None:
    """Compare statuses and feed with the model: no effect is lost or there twice."""
    model = model_of(client, keys)
    for (kind, entity_id), status in model.statuses.items():
        own = keys.partition(model.home(entity_id))
        assert json.loads(client.get(own.status(kind, entity_id)) or "") == status
    feeds = {keys.partition(number).changes for number in range(4)}
    changes = [fields["data"] for feed in feeds for _, fields in client.xrange(feed)]
    assert Counter(canonical(json.loads(each)) for each in changes) == Counter(
        map(canonical, model.changes)
    )
    for number in range(4):
        fields = client.hgetall(keys.partition(number).partition)
        assert int(fields["entries"]) == model.entries[number]


@pytest.mark.parametrize("layout", ["single", "cluster"])
def test_taken_over_while_it_runs(
    server: Server, redis_client: Redis, tmp_path: Path, release: Path, layout: Layout
) -> None:
    """The older worker ends with exit code 78 at its next commit; nothing is applied twice."""
    keys = Keys("status", layout)
    options = ["--layout", layout]
    with first_release(release, server.url, *options) as older:
        produce(redis_client, keys, 0, 300)
        wait_until(lambda: drained(redis_client, keys))
        assert redis_client.hget(keys.meta, "version") == "1"
        with tracker(tmp_path, "--redis-url", server.url, *options) as newer:
            produce(redis_client, keys, 300, 2_000)
            assert older.wait(15) == 78
            produce(redis_client, keys, 2_300, 100)
            wait_until(lambda: drained(redis_client, keys))
            assert newer.stop() == 0
        log = (release / "worker.log").read_text()
        assert "version: configured is 1, but status:meta says" in log.splitlines()[-1]
    meta = redis_client.hgetall(keys.meta)
    assert (meta["version"], meta["revision"]) == ("2", "1")
    assert_once(redis_client, keys)


def test_an_idle_older_worker_ends_too(
    server: Server, redis_client: Redis, tmp_path: Path, release: Path
) -> None:
    """It holds its leases for as long as it lives, so it must not wait for an update to end."""
    keys = Keys("status", "single")
    with first_release(release, server.url) as older:
        produce(redis_client, keys, 0, 100)
        wait_until(lambda: drained(redis_client, keys))
        with tracker(tmp_path, "--redis-url", server.url) as newer:
            assert older.wait(15) == 78
            with first_release(release, server.url) as another:
                assert another.wait(15) == 78
            wait_until(
                lambda: (
                    {redis_client.get(keys.lease(number)) for number in range(4)}
                    == {redis_client.zrange(keys.workers, 0, -1)[0]}
                )
            )
            produce(redis_client, keys, 100, 100)
            wait_until(lambda: drained(redis_client, keys))
            assert newer.stop() == 0
    assert_once(redis_client, keys)


def test_what_it_left_is_read_on(
    server: Server, redis_client: Redis, tmp_path: Path, release: Path
) -> None:
    """The keys of the first release, of which no worker runs any more, are those of this one."""
    keys = Keys("status", "single")
    with first_release(release, server.url) as older:
        produce(redis_client, keys, 0, 200)
        wait_until(lambda: drained(redis_client, keys))
        older.terminate()
        assert older.wait(15) == 0
    task = id_in(2)
    add(redis_client, update(task, "pending"), keys=keys)
    with tracker(tmp_path, "--redis-url", server.url) as newer:
        wait_until(
            lambda: redis_client.exists(f"status:task:{task}") and drained(redis_client, keys)
        )
        assert newer.stop() == 0
    assert_once(redis_client, keys)
    revisions = [
        redis_client.hget(keys.partition(number).partition, "revision") for number in range(4)
    ]
    assert revisions == ["1"] * 4
