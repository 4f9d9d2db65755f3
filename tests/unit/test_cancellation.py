"""Ending the tasks of a worker."""

import asyncio
import gc

import pytest
from status_tracker.cancellation import cancelled, started


async def test_a_swallowed_cancellation_is_repeated() -> None:
    """A partition that lost a cancellation within redis-py must not outlive the worker."""
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 2:
                    raise

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await asyncio.wait_for(cancelled([task]), timeout=10)
    assert task.cancelled()
    assert swallowed == 2


async def test_an_exception_that_nobody_looks_at_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A partition that is cancelled while a commit fails has nothing to report."""

    async def fail() -> None:
        raise ConnectionError("lost")

    task = started(fail(), "commit")
    await asyncio.wait([task])
    del task
    gc.collect()
    assert not caplog.records
