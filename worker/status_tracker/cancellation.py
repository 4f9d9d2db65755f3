"""Ending asyncio tasks for good."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def started(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task whose owner may be cancelled before it can look at what the task raised.

    asyncio would log that as an exception that was never retrieved, though nothing is wrong.
    """
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


async def unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T | None:
    """Return what the work returns, or raise what it raises; None when told to stop before that."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancelled([working, stopping])
    return None if working.cancelled() and stop.is_set() else working.result()


async def together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Work until all have ended, or one fails; then end the others, and raise what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await cancelled(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended; what they raise is theirs to tell.

    Once is not enough: redis-py asks Sentinels in `asyncio.wait_for`, which in Python 3.11 swallows
    a cancellation that arrives in the moment in which the answer does.
    """
    tasks = pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.05)
    await asyncio.gather(*tasks, return_exceptions=True)  # or asyncio logs what nobody looked at
