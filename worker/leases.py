"""One worker's entries in the keys of the fleet: its heartbeat and its leases."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from worker.connection import UNAVAILABLE, Client
from worker.keys import Keys
from worker.scripts import Script

# Also when the server's memory is full: who owns what must not change because of that.
_heartbeat = Script("heartbeat", flags="allow-oom")
_claim = Script("claim", flags="allow-oom")
_release = Script("release", flags="allow-oom")

PATIENCE = 4
"""How many calls in a row may go without an answer until a lease runs out."""


class Leases:
    """One worker's entries in the keys of the fleet."""

    def __init__(self, client: Client, keys: Keys, partitions: int, *, name: str, ttl: int) -> None:
        self.name = name
        self.partitions = partitions
        self.ttl = ttl
        self._client = client
        self._keys = keys
        # The cluster layout has each lease in its partition's slot, and a script stays in one.
        self._one_by_one = keys.layout == "cluster"

    async def beat(self, within: int) -> tuple[list[str], bool]:
        """Note that this worker lives; return the live ones, and whether its name was there.

        A worker that was not heard of within so many ms is not live any more.
        """
        added, *names = await _heartbeat.run(
            self._client, [self._keys.workers], [self.name, str(within)]
        )
        return [name.decode() for name in names], not added

    async def leave(self) -> None:
        """Be no worker any more."""
        await self._client.zrem(self._keys.workers, self.name)

    async def owners(self) -> dict[int, str | None]:
        """Return who owns each partition; where a part of a cluster is down, of those it can."""
        found = await self._each(range(self.partitions), self._client.mget)
        return {number: owner and owner.decode() for number, owner in found.items()}

    async def claim(self, numbers: Iterable[int]) -> dict[int, str]:
        """Take or prolong leases; return who owns each, for as many as could be asked for."""

        async def call(leases: list[str]) -> Sequence[bytes]:
            owners: Sequence[bytes] = await _claim.run(
                self._client, leases, [self.name, str(self.ttl)]
            )
            return owners

        claimed = await self._each(numbers, call)
        return {number: owner.decode() for number, owner in claimed.items()}

    async def release(self, numbers: Iterable[int]) -> None:
        """Give back the leases among these that are this worker's."""

        async def call(leases: list[str]) -> Sequence[None]:
            await _release.run(self._client, leases, [self.name])
            return [None] * len(leases)

        await self._each(numbers, call)

    async def _each(
        self, numbers: Iterable[int], call: Callable[[list[str]], Awaitable[Sequence[Any]]]
    ) -> dict[int, Any]:
        """Call with the leases of partitions, slot by slot; raise only where every call failed.

        A part of a cluster that does not answer is not waited for as long as the others' leases
        last.
        """
        numbers = list(numbers)
        groups = [[number] for number in numbers] if self._one_by_one else [numbers] * bool(numbers)

        async def in_time(leases: list[str]) -> Sequence[Any]:
            return await asyncio.wait_for(call(leases), self.ttl / 1000 / PATIENCE)

        calls = (in_time([self._keys.lease(number) for number in group]) for group in groups)
        replies = await asyncio.gather(*calls, return_exceptions=True)
        found: dict[int, Any] = {}
        errors = []
        for group, reply in zip(groups, replies, strict=True):
            if isinstance(reply, BaseException):
                errors.append(reply)
            else:
                found.update(zip(group, reply, strict=True))
        for error in errors:
            if not found or not isinstance(error, UNAVAILABLE):
                raise error
        return found
