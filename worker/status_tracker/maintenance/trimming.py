"""Taking away entries that were applied and are old; never an unread one.

The script goes by the keys alone: it does not matter who calls it, or who owns the partition.
"""

import logging
from collections.abc import Callable, Iterable

from status_tracker.connection.client import UNAVAILABLE, Client
from status_tracker.engine.notices import Notice
from status_tracker.engine.tally import Tally
from status_tracker.keys import GROUP, PartitionKeys
from status_tracker.lua.trim import trim
from status_tracker.maintenance.upkeep import tenth
from status_tracker.metadata import Deployment

log: logging.Logger = logging.getLogger(__name__)

AT_ONCE = 10_000
"""Entries that one call takes away, about: it takes the server a millisecond or two."""

LONGEST_PAUSE = 60.0
"""Seconds between two looks at most; else a tenth of the time for which entries are kept."""


class Trimming:
    """Trims the streams of this worker's partitions."""

    name: str = "trimming"

    def __init__(
        self,
        client: Client,
        deployment: Callable[[], Deployment],
        owned: Callable[[], Iterable[int]],
        tally: Tally,
        *,
        retention: int,
        group_retention: int,
    ) -> None:
        """Keep applied entries for `retention` ms, those others have not read for the other."""
        self._client = client
        self._deployment = deployment
        self._owned = owned
        self._tally = tally
        self._retention = retention
        self._group_retention = max(retention, group_retention)
        self._lagging = Notice()

    @property
    def pause(self) -> float:
        """Seconds until the next look, where nothing is left to do."""
        return tenth([self._retention], longest=LONGEST_PAUSE)

    async def look(self, now: int) -> bool:
        """Take away what is old at a time, in milliseconds; tell whether there may be more."""
        keys = self._deployment().keys
        more = False
        failure: Exception | None = None
        for number in list(self._owned()):
            try:
                more |= await self._trim(keys.partition(number), now)
            except UNAVAILABLE as error:
                failure = error  # it may be one stream, or one node, and is nothing to the others
        self._say_who_lags()
        if failure is not None:
            raise failure
        return more

    async def _trim(self, own: PartitionKeys, now: int) -> bool:
        found = await trim(
            self._client,
            partition=own.partition,
            events=own.events,
            group=GROUP,
            before=now - self._retention,
            held=now - self._group_retention,
            most=AT_ONCE,
        )
        self._tally.trimmed += found.entries
        if found.lagging:
            self._lagging.add([f"{found.lagging} of {own.events}"])
        # Entries grow old all the time: the few of a pause are left to the next look.
        return found.entries >= AT_ONCE / 2

    def _say_who_lags(self) -> None:
        for group in self._lagging.take():
            log.warning(
                "old entries are kept for the consumer group %s, which has not read or "
                "acknowledged them: at most for events_retention_for_groups; XGROUP DESTROY it if "
                "nobody needs it",
                group,
                extra={"event": "group_lagging"},
            )
