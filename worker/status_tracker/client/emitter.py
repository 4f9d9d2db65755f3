"""`Emitter` and `AsyncEmitter`: what a producer says."""

from collections.abc import Iterable, Mapping
from typing import Any, Self, TypedDict, Unpack, overload

from status_tracker.client.async_shell import AsyncShell, AsyncSource
from status_tracker.client.emitting import Emitting, Options, Progressed
from status_tracker.client.outbox import Entity, Outbox
from status_tracker.client.reader import prefix_of
from status_tracker.client.reporter import AsyncTaskReporter, TaskReporter
from status_tracker.client.reporting import Heart, Pace, Phases, Reporting
from status_tracker.client.site import Site
from status_tracker.client.sync_shell import Source, SyncShell
from status_tracker.client.updates import Clock, Document, fields_from, fields_of
from status_tracker.models import Update

RETRY_FOR = 10.0
"""Seconds for which an emitter tries again where the server cannot be reached."""


class Fields(TypedDict, total=False):
    """What may be said besides kind, id and phase."""

    progress: float | None
    """From 0 to 1."""
    error_message: str | None
    attempt: int | None
    """Which attempt this speaks of, as the producer counts them."""
    restart: bool
    """Begin again by hand, with the count of retries back at 0."""
    force: bool
    """By hand, to a phase that no step leads to."""
    updated_at: float
    """Milliseconds since the epoch. Left out, it is now, and later than of all before."""


class Emitter:
    """Adds updates to a deployment's streams, checked by its rules. Many threads may share one.

    It takes a URL, settings, or a client of redis-py, and connects when it is first used. Raises
    `UpdateError` for what the rules refuse, whatever the entity's status is; `UnavailableError`
    where the server cannot be used for `retry_for` seconds; `ConfigError` where there is no
    deployment; and with `max_backlog`, `BacklogError` where a partition has as many unread entries
    for `backlog_timeout` seconds. With `wait_replicas` it waits until so many have an update.
    """

    def __init__(
        self,
        source: Source,
        *,
        prefix: str | None = None,
        retry_for: float = RETRY_FOR,
        max_backlog: int | None = None,
        backlog_timeout: float = 0.0,
        wait_replicas: int = 0,
    ) -> None:
        options = Options(
            retry_for=retry_for,
            max_backlog=max_backlog,
            backlog_timeout=backlog_timeout,
            wait_replicas=wait_replicas,
        )
        site = Site(prefix_of(source, prefix), retry_for)
        self._shell = SyncShell(source)
        self._emitting = Emitting(site, options, self._shell.clock)
        self._outbox = Outbox(self._emitting, site, retry_for)
        self._heart = Heart(self._shell)

    def task(
        self,
        id: str,
        phase: str,
        **fields: Unpack[Fields],
    ) -> str:
        """Say in which phase a task is; return the ID of the stream's entry."""
        return self.emit("task", id, phase, **fields)

    def asset(
        self,
        id: str,
        phase: str,
        **fields: Unpack[Fields],
    ) -> str:
        """Say in which phase an asset is; return the ID of the stream's entry."""
        return self.emit("asset", id, phase, **fields)

    @overload
    def emit(self, kind: Update, /) -> str: ...

    @overload
    def emit(
        self,
        kind: str,
        id: str,
        phase: str,
        **fields: Unpack[Fields],
    ) -> str: ...

    def emit(
        self, kind: str | Update, id: str = "", phase: str = "", **fields: Unpack[Fields]
    ) -> str:
        """Say in which phase an entity is, by a struct or by names; return the entry's ID."""
        return self._shell.run(
            self._emitting.emit(given(self._shell.clock, kind, id, phase, fields))
        )

    def emit_many(
        self,
        updates: Iterable[Update | Mapping[str, Any]],
        *,
        on_progress: Progressed | None = None,
    ) -> int:
        """Send structs, or mappings with `kind`, `id`, `phase` and what else; return how many.

        Some thousands go in one round trip, and after each `on_progress` is called with how many
        there were. Where one is refused, those before it are sent.
        """
        return self._shell.run(self._emitting.emit_many(updates, on_progress))

    def remove(self, kind: str, ids: Iterable[str]) -> int:
        """Take entities away, whatever their statuses are; return how many ids there were.

        Some hundreds go with one entry, which counts as soon as a worker reads it. Where one
        cannot be an id, `UpdateError` says so, and none is sent.
        """
        return self._shell.run(self._emitting.remove(kind, ids))

    def report(
        self,
        id: str,
        *,
        kind: str = "task",
        running: str = "running",
        completed: str = "completed",
        failed: str = "failed",
        begin: bool = False,
        attempt: int | None = None,
        every: float = 1.0,
        step: float = 0.05,
        heartbeat: float = 60.0,
        strict: bool = False,
    ) -> TaskReporter:
        """Return what reports a piece of work, for a `with` block.

        With `begin` it sends what must come before `running`, too. Progress is sent after `every`
        seconds, or when it grew by `step`; without any, that the work goes on, after `heartbeat`
        seconds (0: never). With `strict` what cannot be sent is raised.
        """
        reporting = Reporting(
            self._outbox,
            Entity(kind, id),
            Phases(running, completed, failed),
            Pace(every, step, heartbeat),
            attempt=attempt,
            begin=begin,
            strict=strict,
        )
        return TaskReporter(self._shell, self._outbox, self._heart, reporting)

    def close(self, timeout: float = 5.0) -> None:
        """Send the reports that are kept, within so many seconds, and close all own connections.

        A client that was given stays open.
        """
        self._shell.run(self._outbox.close(timeout))
        self._shell.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncEmitter:
    """Adds updates to the streams of a deployment, in one event loop: `Emitter` with await."""

    def __init__(
        self,
        source: AsyncSource,
        *,
        prefix: str | None = None,
        retry_for: float = RETRY_FOR,
        max_backlog: int | None = None,
        backlog_timeout: float = 0.0,
        wait_replicas: int = 0,
    ) -> None:
        options = Options(
            retry_for=retry_for,
            max_backlog=max_backlog,
            backlog_timeout=backlog_timeout,
            wait_replicas=wait_replicas,
        )
        site = Site(prefix_of(source, prefix), retry_for)
        self._shell = AsyncShell(source)
        self._emitting = Emitting(site, options, self._shell.clock)
        self._outbox = Outbox(self._emitting, site, retry_for)
        self._heart = Heart(self._shell)

    async def task(
        self,
        id: str,
        phase: str,
        **fields: Unpack[Fields],
    ) -> str:
        """Say in which phase a task is; return the ID of the stream's entry."""
        return await self.emit("task", id, phase, **fields)

    async def asset(
        self,
        id: str,
        phase: str,
        **fields: Unpack[Fields],
    ) -> str:
        """Say in which phase an asset is; return the ID of the stream's entry."""
        return await self.emit("asset", id, phase, **fields)

    @overload
    async def emit(self, kind: Update, /) -> str: ...

    @overload
    async def emit(
        self,
        kind: str,
        id: str,
        phase: str,
        **fields: Unpack[Fields],
    ) -> str: ...

    async def emit(
        self, kind: str | Update, id: str = "", phase: str = "", **fields: Unpack[Fields]
    ) -> str:
        """Say in which phase an entity is, by a struct or by names; return the entry's ID."""
        return await self._shell.run(
            self._emitting.emit(given(self._shell.clock, kind, id, phase, fields))
        )

    async def emit_many(
        self,
        updates: Iterable[Update | Mapping[str, Any]],
        *,
        on_progress: Progressed | None = None,
    ) -> int:
        """Send structs, or mappings of what `emit` takes; see `Emitter.emit_many`."""
        return await self._shell.run(self._emitting.emit_many(updates, on_progress))

    async def remove(self, kind: str, ids: Iterable[str]) -> int:
        """Take entities away, whatever their statuses are; see `Emitter.remove`."""
        return await self._shell.run(self._emitting.remove(kind, ids))

    def report(
        self,
        id: str,
        *,
        kind: str = "task",
        running: str = "running",
        completed: str = "completed",
        failed: str = "failed",
        begin: bool = False,
        attempt: int | None = None,
        every: float = 1.0,
        step: float = 0.05,
        heartbeat: float = 60.0,
        strict: bool = False,
    ) -> AsyncTaskReporter:
        """Return what reports a piece of work, for an `async with` block; see `Emitter.report`."""
        reporting = Reporting(
            self._outbox,
            Entity(kind, id),
            Phases(running, completed, failed),
            Pace(every, step, heartbeat),
            attempt=attempt,
            begin=begin,
            strict=strict,
        )
        return AsyncTaskReporter(self._shell, self._outbox, self._heart, reporting)

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - as without await
        """Send the reports that are kept, within so many seconds, and close all own connections.

        A client that was given stays open.
        """
        await self._shell.run(self._outbox.close(timeout))
        await self._shell.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def given(clock: Clock, kind: str | Update, id: str, phase: str, fields: Fields) -> Document:
    """Return the update in the arguments of `emit`."""
    if isinstance(kind, Update):
        return fields_from(kind, clock=clock)
    return fields_of(kind, id, phase, clock=clock, **fields)
