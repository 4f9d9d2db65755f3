"""The producers of the demo: a small video service, which says in updates what it does.

It knows nothing of the tracker: it counts no retries, and never hears what was rejected.
"""

import asyncio
import itertools
from collections.abc import Mapping
from functools import partial

from status_tracker.demo.encoders import Encoders, Say
from status_tracker.demo.luck import Luck
from status_tracker.demo.mistakes import make_mistakes
from status_tracker.demo.streams import Streams

VIDEOS = 32
"""Videos under way at a time."""

RENDITIONS = {"1080p": 30, "720p": 20, "480p": 12, "thumbs": 6}
"""What is made of every video: the name of the task → how many times it reports its progress."""

EXPORT_REPORTS = 8
"""The same for the task that comes after these."""


class VideoService:
    """Takes in videos, has tasks done on them, and deletes some."""

    def __init__(self, streams: Streams, luck: Luck) -> None:
        self._streams = streams
        self._luck = luck
        self._encoders = Encoders(streams, luck)
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(make_mistakes(self._streams, self._luck))
            for _ in range(VIDEOS):
                group.create_task(self._videos())

    async def _videos(self) -> None:
        """Treat one video after the other."""
        while True:
            await self._luck.pause(0, 1.5)
            video = f"video-{next(self._numbers):04d}"
            say = partial(self._streams.update, "asset", video)
            if await self._receive(say) and await self._process(video, say):
                await self._luck.pause(0.5, 2)
                if self._luck.strikes(0.15):
                    await self._delete(say)

    async def _receive(self, say: Say) -> bool:
        """Take in a video; return whether it is there."""
        copied = self._luck.strikes(0.4)  # from elsewhere, which takes no upload
        if not copied and not await self._upload(say):
            await say("failed", error_message="connection lost")
            await self._luck.pause(0.5, 2)
            if self._luck.strikes(0.5):
                await self._delete(say)
                return False
            # The rest came by another way: a restart.
        await say("waiting")
        await self._luck.pause(0.1, 0.5)
        return True

    async def _upload(self, say: Say) -> bool:
        uploaded = 0.0
        while uploaded < 1:
            await say("uploading", progress=round(uploaded, 3))
            await self._luck.pause(0.1, 0.3)
            if self._luck.strikes(0.01):
                return False
            uploaded += self._luck.uniform(0.02, 0.2)
        return True

    async def _process(self, video: str, say: Say) -> bool:
        """Make everything of a video; return whether it is ready."""
        await say("processing", progress=0)
        missing = await self._renditions(video, say, RENDITIONS)
        if missing:
            await say("failed", error_message=f"not made: {', '.join(missing)}")
            await self._luck.pause(1, 3)
            if self._luck.strikes(0.4):
                return False
            await say("processing")
            missing = await self._renditions(video, say, missing, restart=True)
        if missing or not await self._encoders.make(f"{video}-export", EXPORT_REPORTS):
            await say("failed", error_message="there is nothing to deliver")
            return False
        await say("ready")
        return True

    async def _renditions(
        self, video: str, say: Say, wanted: Mapping[str, int], *, restart: bool = False
    ) -> dict[str, int]:
        """Make renditions side by side; return those that were not made."""

        async def make(name: str) -> tuple[str, bool]:
            made = await self._encoders.make(f"{video}-{name}", wanted[name], restart=restart)
            return name, made

        missing = {}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(make(name)) for name in wanted]
            for ended, task in enumerate(asyncio.as_completed(tasks), start=1):
                name, made = await task
                if not made:
                    missing[name] = wanted[name]
                await say("processing", progress=round(ended / len(wanted), 3))
        return missing

    async def _delete(self, say: Say) -> None:
        """Delete a video, which may be taken back."""
        await say("deleting")
        await self._luck.pause(1, 3)
        await say("ready" if self._luck.strikes(0.2) else "deleted")
