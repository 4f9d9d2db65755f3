"""Ending asyncio tasks for good."""

import asyncio
from collections.abc import Iterable
from typing import Any


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
