"""Chance, as the demo's producers need it."""

import asyncio
from random import Random


class Luck(Random):
    """Random numbers; `Luck(seed)` draws the same ones again."""

    def strikes(self, share: float) -> bool:
        """Return True in this share of the calls, from 0 to 1."""
        return self.random() < share

    async def pause(self, shortest: float, longest: float) -> None:
        """Wait for so many seconds."""
        await asyncio.sleep(self.uniform(shortest, longest))
