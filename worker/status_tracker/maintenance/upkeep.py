"""Has the policies look after a deployment, each at its own pace, beside the commits."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from status_tracker.cancellation import together
from status_tracker.connection.client import UNAVAILABLE, Client
from status_tracker.engine.backoff import Backoff
from status_tracker.lua.now import now

IDLE_SHARE = 2
"""How many times as long as a step took is waited before the next one: updates come first."""

SHORTEST_PAUSE = 0.1
"""Seconds between two looks at least."""


def tenth(times: Iterable[int], *, longest: float) -> float:
    """Return a tenth of the shortest of times, in ms; as seconds, between two bounds."""
    return max(min([longest, *(time / 10_000 for time in times)]), SHORTEST_PAUSE)


class Policy(Protocol):
    """What is looked after."""

    name: str

    @property
    def pause(self) -> float:
        """Seconds until the next look, where nothing is left to do."""

    async def look(self, now: int) -> bool:
        """Do what is to be done at a time, in ms, in small steps; tell whether there may be more.

        Raises one of `UNAVAILABLE`.
        """


class Upkeep:
    """The policies of one worker."""

    def __init__(
        self, client: Client, policies: Sequence[Policy], backoff: Backoff, *, key: str
    ) -> None:
        """The server that has the key tells the time."""
        self._client = client
        self._policies = policies
        self._backoff = backoff
        self._key = key

    async def run(self) -> None:
        """Go on until it is cancelled."""
        await together(map(self._keep, self._policies))

    async def _keep(self, policy: Policy) -> None:
        while True:
            began = time.monotonic()
            try:
                more = await policy.look(await now(self._client, self._key))
            except UNAVAILABLE as error:
                self._backoff.failed(policy.name, error)
                pause = policy.pause
            else:
                self._backoff.succeeded(policy.name)
                took = (time.monotonic() - began) * IDLE_SHARE
                pause = max(took, SHORTEST_PAUSE if more else policy.pause)
            await asyncio.sleep(pause)
