"""What type checkers make of the names that users import. It is checked, and never run."""

from collections.abc import Mapping
from typing import assert_type

import redis
import redis.asyncio
from status_tracker import (
    AssetUpdate,
    AsyncEmitter,
    AsyncStatusReader,
    AsyncTaskReporter,
    Change,
    Emitter,
    FeedEvent,
    Found,
    Page,
    Rejected,
    RejectedPage,
    Rules,
    Snapshot,
    StalledPage,
    Status,
    StatusReader,
    TaskReporter,
    TaskUpdate,
    Update,
)
from status_tracker.settings import load_settings


def produce(emitter: Emitter, parts: list[int]) -> None:
    """Say what can be said."""
    assert_type(emitter.task("a", "running", progress=0.4, error_message=None, attempt=2), str)
    assert_type(emitter.asset("v", "ready"), str)
    assert_type(emitter.emit("export", "e", "rendering", force=True), str)
    assert_type(emitter.emit(TaskUpdate(id="a", phase="running")), str)
    mapping: Mapping[str, object] = {"kind": "task", "id": "a", "phase": "pending"}
    mixed: list[Update | Mapping[str, object]]
    mixed = [TaskUpdate(id="a", phase="failed"), AssetUpdate(id="v", phase="ready"), mapping]
    assert_type(emitter.emit_many(mixed, on_progress=print), int)
    assert_type(emitter.remove("task", ["a", "b"]), int)
    with emitter.report("a", begin=True) as task:
        assert_type(task, TaskReporter)
        for part in task.track(parts):
            assert_type(part, int)
        task.progress(0.5)
        task.retry("again")


async def produce_with_await(emitter: AsyncEmitter, parts: list[int]) -> None:
    """Say the same."""
    assert_type(await emitter.task("a", "running", progress=1), str)
    assert_type(await emitter.emit(TaskUpdate(id="a", phase="running")), str)
    async with emitter.report("a") as task:
        assert_type(task, AsyncTaskReporter)
        async for part in task.track(parts):
            assert_type(part, int)


def read(reader: StatusReader) -> None:
    """Ask what can be asked."""
    assert_type(reader.task("a"), Status | None)
    assert_type(reader.get_many("task", {"a", "b"}), dict[str, Status | None])
    page = reader.list("task", "running")
    assert_type(page, Page)
    assert_type(page.statuses, dict[str, Status])
    assert_type(page.after, str | None)
    stalled = reader.stalled("task", newest=False)
    assert_type(stalled, StalledPage)
    assert_type(stalled.entities["a"].status, Status)
    assert_type(stalled.entities["a"].since, int)
    assert_type(reader.find("task", "a*"), Found)
    assert_type(reader.counts("task"), dict[str, int])
    assert_type(reader.history("task", "a"), list[Change])
    rejected = reader.rejected(reason="stale")
    assert_type(rejected, RejectedPage)
    assert_type(rejected.entries, list[Rejected])
    assert_type(reader.rejected_entries(["1-1"]), dict[str, Rejected | None])
    assert_type(reader.feed_end(), str)
    assert_type(reader.rules(), Rules)
    assert_type(reader.snapshot("task"), Snapshot)
    for event in reader.changes():
        assert_type(event, FeedEvent)
        assert_type(event.status, Status | None)
    assert_type(reader.wait("task", "a", until=["failed"], timeout=1), Status)


async def read_with_await(reader: AsyncStatusReader) -> None:
    """Ask the same."""
    assert_type(await reader.task("a"), Status | None)
    assert_type(await reader.wait("task", "a"), Status)
    async for event in reader.changes():
        assert_type(event, FeedEvent)


def make(client: redis.Redis, awaited: redis.asyncio.Redis) -> None:
    """Give what may be given, and not what the other shell takes."""
    Emitter(client)
    StatusReader(load_settings())
    AsyncStatusReader(awaited)
    Emitter(awaited)  # type: ignore[arg-type]
    AsyncEmitter(client)  # type: ignore[arg-type]


def make_mistakes(emitter: Emitter) -> None:
    """Be told before it runs."""
    emitter.task("a", "running", progres=0.4)  # type: ignore[call-arg]
    emitter.task("a", "running", progress="0.4")  # type: ignore[arg-type]
    TaskUpdate(id="a", phase="rnning")  # type: ignore[arg-type]
