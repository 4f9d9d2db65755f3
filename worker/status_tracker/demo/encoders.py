"""The tasks of the demo's video service: each is begun, reports its progress, and may fail."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from status_tracker.demo.luck import Luck
from status_tracker.demo.streams import Streams

ENCODERS = 32
"""Tasks that run at a time; the others wait."""

ATTEMPTS = 4
"""How often a task is begun before it is given up. The tracker refuses the last retry by default,
which nobody tells the service."""

TROUBLES = {0.002: 85, 0.04: 13, 0.3: 2}
"""How likely a running task is to fail between two reports: share → percent of the tasks."""

CANCELLED = 0.001
"""Share of the reports at which somebody cancels the task."""

TAKEN_AWAY = 0.002
"""Share of the reports at which the encoder is taken away, and the task waits for another."""

HANGS = 0.002
"""Share of the reports after which an encoder hangs for some time, and says nothing."""

ERRORS = ("out of memory", "codec not found", "disk full", "input is truncated", "encoder crashed")

Say = Callable[..., Awaitable[None]]
"""Sends an update of one entity: its phase, and what else there is to say."""


class Encoders:
    """Runs tasks, so many at a time."""

    def __init__(self, streams: Streams, luck: Luck) -> None:
        self._streams = streams
        self._luck = luck
        self._free = asyncio.Semaphore(ENCODERS)

    async def make(self, name: str, reports: int, *, restart: bool = False) -> bool:
        """Do a task that reports its progress so many times; return whether it completed."""
        say = partial(self._streams.update, "task", name)
        if restart:
            await say("waiting", restart=True)
        else:
            await say("pending")
            await self._luck.pause(0.1, 0.5)
            await say("waiting")
        [trouble] = self._luck.choices(list(TROUBLES), list(TROUBLES.values()))
        for _ in range(ATTEMPTS):
            async with self._free:
                phase = await self._attempt(say, reports, trouble)
            if phase in ("completed", "cancelled"):
                return phase == "completed"
            await self._luck.pause(0.2, 1)
            if phase == "failed":
                await say("waiting")
        await say("failed", error_message=f"given up after {ATTEMPTS} attempts")
        return False

    async def _attempt(self, say: Say, reports: int, trouble: float) -> str:
        """Run a task once; return the phase it ended in."""
        await say("running", progress=0)
        for report in range(1, reports + 1):
            await self._luck.pause(0.05, 0.2)
            if self._luck.strikes(trouble):
                await say("failed", error_message=self._luck.choice(ERRORS))
                return "failed"
            if self._luck.strikes(CANCELLED):
                await say("cancelled", error_message="cancelled by the user")
                return "cancelled"
            if self._luck.strikes(TAKEN_AWAY):
                await say("waiting", error_message="encoder was taken away")
                return "waiting"
            await say("running", progress=round(report / reports, 3))
            if self._luck.strikes(HANGS):
                await self._luck.pause(4, 12)
        await say("completed")
        return "completed"
