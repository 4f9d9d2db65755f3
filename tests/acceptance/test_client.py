"""Producers and dashboards with real workers between them."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio.sentinel
import redis.sentinel
from status_tracker import AsyncEmitter, AsyncStatusReader, Emitter, StatusReader
from status_tracker.keys import Keys

from tests.acceptance.tracker import assert_as_modelled, drained, tracker
from tests.sentinels import NAME, Sentinels
from tests.servers import Server, binaries, wait_until
from tests.shells import Shell

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def worker(server: Server, tmp_path: Path) -> Iterator[str]:
    """The URL of a server with a worker."""
    with tracker(tmp_path / "tracker", "--redis-url", server.url):
        with server.client() as client:
            wait_until(lambda: client.exists("status:lease:{3}"))
        yield server.url


def test_what_is_said_is_seen(worker: str) -> None:
    """As the README has it."""
    with Emitter(worker) as emitter, StatusReader(worker) as reader:
        emitter.task("export-17", "pending")
        emitter.task("export-17", "failed", error_message="no disk", attempt=2)
        status = reader.wait("task", "export-17", until="settled", timeout=20)
        assert (status.phase, status.progress, status.error_message) == ("failed", None, "no disk")
        assert (status.retries, status.attempt) == (0, 2)
        with emitter.report("export-18", begin=True) as task:
            for number in task.track(range(3)):
                if number == 1:
                    task.retry("encoder crashed")
        done = reader.wait("task", "export-18", timeout=20)
        assert (done.phase, done.progress, done.retries) == ("completed", 1, 1)
        emitter.task("export-18", "running")
        wait_until(lambda: reader.rejected().entries)
        [late] = reader.rejected(reason="illegal_transition").entries
        assert b"export-18" in late.data


def test_the_readme_s_fifteen_lines(worker: str) -> None:
    """A producer, a dashboard's reader and a test, as a newcomer copies them."""
    code = README.read_text().split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line]) <= 15
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own
    names["URL"] = worker

    class Part:
        def render(self) -> None:
            """Do nothing."""

    names["test_export"]([Part(), Part()])
    with Emitter(worker) as emitter, StatusReader(worker) as reader:
        with pytest.raises(AttributeError):
            names["export"](emitter, "export-19", [None])
        reader.wait("task", "export-19", timeout=20)
        assert "render" in names["failed"](reader)["export-19"]


async def test_what_is_said_is_seen_with_await(worker: str) -> None:
    """The same, in one loop."""
    async with AsyncEmitter(worker) as emitter, AsyncStatusReader(worker) as reader:
        waiting = asyncio.create_task(reader.wait("task", "export-18", timeout=20))

        async def work() -> None:
            async with emitter.report("export-18", begin=True) as task:
                await task.progress(0.4)
                raise OSError("no disk")

        with pytest.raises(OSError, match="no disk"):
            await work()
        status = await waiting
        assert (status.phase, status.progress, status.error_message) == ("failed", 0.4, "no disk")


def lives(luck: random.Random, count: int, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield updates of many tasks, mixed; each keeps its order."""
    left = {
        f"{prefix}-{number}": ["pending", "waiting", "running", "completed"]
        for number in range(count)
    }
    while left:
        entity = luck.choice(list(left))
        yield {"kind": "task", "id": entity, "phase": left[entity].pop(0)}
        if not left[entity]:
            del left[entity]


@pytest.mark.parametrize("layout", ["single", "cluster"])
def test_a_dashboard_is_complete_and_stays_so(server: Server, tmp_path: Path, layout: Any) -> None:
    """It begins in the middle, is begun again now and then, and ends with what is there."""
    luck = random.Random(8)
    keys = Keys("status", layout)
    options = ["--redis-url", server.url, "--layout", layout]
    with tracker(tmp_path, *options), server.client() as client, Emitter(server.url) as emitter:
        wait_until(lambda: client.exists("status:lease:{3}"))
        first = list(lives(luck, 150, "early"))
        emitter.emit_many(first)

        def go_on() -> None:
            for update in lives(luck, 150, "late"):
                emitter.emit(**update)

        producing = threading.Thread(target=go_on)
        producing.start()
        with StatusReader(server.url) as reader:
            snapshot = reader.snapshot("task")
        shown = {each: status.phase for each, status in snapshot.statuses.items()}
        token = snapshot.token
        while len(shown) < 300 or set(shown.values()) != {"completed"}:
            with (
                StatusReader(server.url) as reader,
                closing(reader.changes(after=token)) as changes,
            ):
                for _, event in zip(range(luck.randrange(1, 200)), changes, strict=False):
                    assert event.status is not None
                    shown[event.id] = event.status.phase
                    token = event.token
                    if set(shown.values()) == {"completed"} and len(shown) == 300:
                        break
        producing.join()
        wait_until(lambda: drained(client, keys))
        with StatusReader(server.url) as reader:
            assert reader.counts("task")["completed"] == 300
        model = assert_as_modelled(client, keys)
    assert not model.rejected


@pytest.mark.parametrize(("name", "how"), [("plain", "by URL"), ("awaited", "by a client")])
def test_a_new_master_is_followed(tmp_path: Path, how: str, name: str) -> None:
    """Behind Sentinels: what is said while the master is gone is seen, and waited for."""
    with (
        Sentinels(binaries()["valkey"], tmp_path / "sentinels") as sentinels,
        tracker(tmp_path / "tracker", "--redis-url", sentinels.url) as worker,
        closing(Shell(name)) as shell,
    ):
        worker.says("partition")
        source: Any = sentinels.url
        if how == "by a client":
            kind: Any = redis.sentinel if name == "plain" else redis.asyncio.sentinel
            addresses = [("127.0.0.1", each.port) for each in sentinels.sentinels]
            watching = kind.Sentinel(addresses, socket_timeout=1)
            shell.closed_at_the_end(*watching.sentinels)
            login = sentinels.servers[0].admin
            source = watching.master_for(NAME, socket_timeout=1, **login)
        emitter, reader = shell.emitter(source, retry_for=60), shell.reader(source, retry_for=60)
        old = sentinels.master()
        with old.client() as client:
            wait_until(lambda: client.exists("status:meta"))
        emitter.task("a", "pending")
        reader.wait("task", "a", until="pending", timeout=20)
        token = reader.snapshot("task").token
        with old.client() as client, sentinels.servers[1].client() as replica:
            info = client.info("replication")
            wait_until(
                lambda: (
                    replica.info("replication")["master_repl_offset"] >= info["master_repl_offset"]
                )
            )
        sentinels.kill(old)
        emitter.task("a", "failed")
        assert reader.wait("task", "a", timeout=60).phase == "failed"
        with closing(reader.changes(after=token)) as changes:
            assert next(changes).status.phase == "failed"
