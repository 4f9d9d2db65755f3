"""`TaskReporter` and `AsyncTaskReporter`: what a piece of work says while it is done."""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from operator import length_hint
from types import TracebackType
from typing import Self, TypeVar

from status_tracker.client.async_shell import AsyncShell
from status_tracker.client.operations import Operation
from status_tracker.client.outbox import Outbox
from status_tracker.client.reporting import Heart, Reporting
from status_tracker.client.sync_shell import SyncShell

T = TypeVar("T")

log: logging.Logger = logging.getLogger(__name__)


class TaskReporter:
    """Reports a piece of work: begun where a `with` block is entered, completed or failed then.

    What is reported never breaks the work: what cannot be sent is kept, and sent with a later call.
    """

    def __init__(
        self, shell: SyncShell, outbox: Outbox, heart: Heart, reporting: Reporting
    ) -> None:
        self._shell = shell
        self._outbox = outbox
        self._heart = heart
        self._reporting = reporting

    def progress(self, progress: float) -> None:
        """Say how much is done, from 0 to 1; sent at most so often."""
        self._run(self._reporting.progress(progress))

    def track(self, iterable: Iterable[T], *, total: int | None = None) -> Iterator[T]:
        """Yield what is to be worked on, and say how much is done, where its length is known."""
        count = length_of(iterable, total)
        for done, each in enumerate(iterable, start=1):
            yield each
            if count:
                self.progress(min(1.0, done / count))

    def retry(self, reason: str) -> None:
        """Say that an attempt failed and the next one begins: it counts as a retry."""
        self._run(self._reporting.retry(reason))

    def close(self, timeout: float = 5.0) -> None:
        """Send what is kept, of all reporters of the emitter, within so many seconds."""
        self._run(self._outbox.close(timeout))

    def __enter__(self) -> Self:
        self._run(self._reporting.enter())
        self._heart.start(self._reporting)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._heart.stop(self._reporting)
        self._run(self._reporting.leave(error), strictly=error is None)

    def _run(self, operation: Operation[None], *, strictly: bool = True) -> None:
        try:
            self._shell.run(operation)
        except Exception as error:
            if self._reporting.strict and strictly:
                raise
            log.warning(
                "%s: not reported: %s",
                self._reporting.entity.id,
                error,
                extra={"event": "report_refused"},
            )


class AsyncTaskReporter:
    """Reports a piece of work: `TaskReporter` with await."""

    def __init__(
        self, shell: AsyncShell, outbox: Outbox, heart: Heart, reporting: Reporting
    ) -> None:
        self._shell = shell
        self._outbox = outbox
        self._heart = heart
        self._reporting = reporting

    async def progress(self, progress: float) -> None:
        """Say how much is done, from 0 to 1; sent at most so often."""
        await self._run(self._reporting.progress(progress))

    async def track(
        self, iterable: Iterable[T] | AsyncIterable[T], *, total: int | None = None
    ) -> AsyncIterator[T]:
        """Yield what is to be worked on, and say how much is done, where its length is known."""
        count = length_of(iterable, total)
        done = 0
        async for each in _each(iterable):
            yield each
            done += 1
            if count:
                await self.progress(min(1.0, done / count))

    async def retry(self, reason: str) -> None:
        """Say that an attempt failed and the next one begins: it counts as a retry."""
        await self._run(self._reporting.retry(reason))

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - as without await
        """Send what is kept, of all reporters of the emitter, within so many seconds."""
        await self._run(self._outbox.close(timeout))

    async def __aenter__(self) -> Self:
        await self._run(self._reporting.enter())
        self._heart.start(self._reporting)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._heart.stop(self._reporting)
        await self._run(self._reporting.leave(error), strictly=error is None)

    async def _run(self, operation: Operation[None], *, strictly: bool = True) -> None:
        try:
            await self._shell.run(operation)
        except Exception as error:
            if self._reporting.strict and strictly:
                raise
            log.warning(
                "%s: not reported: %s",
                self._reporting.entity.id,
                error,
                extra={"event": "report_refused"},
            )


def length_of(iterable: object, total: int | None) -> int:
    """Return how many there are to work on; 0 where that is not known."""
    return length_hint(iterable) if total is None else total


async def _each(iterable: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(iterable, AsyncIterable):
        async for each in iterable:
            yield each
    else:
        for each in iterable:
            yield each
