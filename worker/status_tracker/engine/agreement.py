"""What one worker knows of its deployment, kept up with the `meta` key."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from status_tracker.connection.client import UNAVAILABLE, Client, checked
from status_tracker.keys import GROUP, Layout
from status_tracker.lua.take_over import take_over
from status_tracker.metadata import VERSION, Deployment, ensure_deployment, read_revision
from status_tracker.rules import Rules


class Agreement:
    """What everyone who connects agrees on, as this worker last saw it."""

    def __init__(self, client: Client, known: Deployment, rules: Rules) -> None:
        """Know a deployment; `rules` are those of a new one, where its keys were flushed."""
        self.known: Deployment = known
        self._client = client
        self._rules = rules
        self._changed: Callable[[], object] = lambda: None
        # Partitions that a worker of the first release may still read.
        self._old = set(range(known.partitions))

    def call(self, changed: Callable[[], object]) -> None:
        """Call a function whenever something else is known than before."""
        self._changed = changed

    async def current(self) -> Deployment:
        """Return the deployment by its `meta` key, as far as the server answers; else as known.

        In a cluster the master of that key may be away while a partition's is not. Raises
        `ConfigError` where the deployment has become another one.
        """
        with suppress(*UNAVAILABLE):
            await self._check()
        return self.known

    async def keep_up(self) -> None:
        """See whether all is as it was; where not, know it, or write back what was lost.

        Raises what `ensure_deployment` raises, and one of `UNAVAILABLE`.
        """
        expected = VERSION, str(self.known.revision)
        if await read_revision(self._client, self.known.keys) != expected:
            await self._check()

    async def end_old_workers(self) -> bool:
        """Have workers of the first release end; tell whether none can read a partition any more.

        Raises one of `UNAVAILABLE` where that is not known of all partitions.
        """

        async def end(number: int) -> None:
            own = self.known.keys.partition(number)
            if await take_over(
                self._client, partition=own.partition, events=own.events, group=GROUP
            ):
                self._old.remove(number)

        checked(await asyncio.gather(*map(end, self._old), return_exceptions=True))
        return not self._old

    async def _check(self) -> None:
        found = await ensure_deployment(
            self._client,
            self.known.keys.prefix,
            partitions=self.known.partitions,
            layout=self.known.keys.layout,
            rules=self._rules,
            known=self.known,
        )
        before = self.known
        # What was asked before may be answered after: the later revision counts. Where it is the
        # same one the object stays, too: only partitions that share it are committed together.
        if found.revision >= before.revision and found.texts != before.texts:
            self.known = found
            self._changed()


async def agree(
    client: Client,
    prefix: str,
    *,
    partitions: int,
    layout: Layout | Literal["auto"],
    rules: Rules,
    old_rules: Rules,
) -> Agreement:
    """Connect to a deployment; raises what `ensure_deployment` raises."""
    known = await ensure_deployment(
        client, prefix, partitions=partitions, layout=layout, rules=rules, old_rules=old_rules
    )
    return Agreement(client, known, rules)
