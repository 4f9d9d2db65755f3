"""One worker's entries in the keys of the fleet: its heartbeat and its leases."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as NoAnswerError

from status_tracker.connection.client import UNAVAILABLE, Client
from status_tracker.keys import Keys
from status_tracker.lua.claim import claim
from status_tracker.lua.heartbeat import heartbeat
from status_tracker.lua.release import release
from status_tracker.text import decoded

CALLS_PER_LEASE = 4
"""How many calls in a row may go without an answer until a lease runs out."""

Told = Callable[[int, str | ResponseError], None]
"""Takes the number of a partition and the owner of its lease, or what is wrong with the lease."""


class Leases:
    """One worker's entries in the keys of the fleet."""

    def __init__(self, client: Client, keys: Keys, partitions: int, *, name: str, ttl: int) -> None:
        self.name = name
        self.partitions = partitions
        self.ttl = ttl
        self._client = client
        self._keys = keys
        # On a cluster each lease is in its partition's slot, and a script stays in one.
        self._one_by_one = client.is_cluster

    async def beat(self, within: int) -> tuple[list[str], bool]:
        """Note that this worker lives; return the live ones, and whether its name was there.

        A worker that was not heard of within so many ms is not live any more.
        """
        return await heartbeat(
            self._client, workers=self._keys.workers, name=self.name, within=within
        )

    async def leave(self) -> None:
        """Be no worker any more."""
        await self._client.execute("ZREM", self._keys.workers, self.name)

    async def owners(self) -> dict[int, str | None]:
        """Return who owns each partition; where a part of a cluster is down, of those it can."""
        found: dict[int, str | None] = {}

        async def call(numbers: list[int], leases: list[str]) -> None:
            owners = await self._client.execute("MGET", *leases)
            for number, owner in zip(numbers, owners, strict=True):
                found[number] = None if owner is None else decoded(owner)

        await self._each(range(self.partitions), call)
        return found

    async def claim(self, numbers: Iterable[int], told: Told) -> None:
        """Take or renew leases; tell who owns each as soon as it is known, if it comes to be."""

        async def call(numbers: list[int], leases: list[str]) -> None:
            owners = await claim(self._client, leases=leases, name=self.name, ttl=self.ttl)
            for number, owner in zip(numbers, owners, strict=True):
                told(number, owner)

        await self._each(numbers, call)

    async def release(self, numbers: Iterable[int]) -> None:
        """Give back the leases among these that are this worker's."""

        async def call(_: list[int], leases: list[str]) -> None:
            await release(self._client, leases=leases, name=self.name)

        await self._each(numbers, call)

    async def _each(
        self, numbers: Iterable[int], call: Callable[[list[int], list[str]], Awaitable[None]]
    ) -> None:
        """Call with partitions and their leases, slot by slot; raise only where every call failed.

        A part of a cluster that does not answer is not waited for as long as the others' leases
        last.
        """
        numbers = list(numbers)
        if not numbers:
            return
        groups = [[number] for number in numbers] if self._one_by_one else [numbers]

        async def in_time(group: list[int]) -> None:
            within = self.ttl / 1000 / CALLS_PER_LEASE
            try:
                leases = [self._keys.lease(number) for number in group]
                async with asyncio.timeout(within):
                    await call(group, leases)
            except TimeoutError:
                raise NoAnswerError(f"no answer about leases within {within:g} s") from None

        calls = [in_time(group) for group in groups]
        replies = await asyncio.gather(*calls, return_exceptions=True)
        errors = [reply for reply in replies if isinstance(reply, BaseException)]
        for error in errors:
            if len(errors) == len(calls) or not isinstance(error, UNAVAILABLE):
                raise error
