"""The server's half of the common way: the keys of several partitions at once.

Errors of the connection and of the server pass through, as in `store.py`.
"""

from collections.abc import Mapping, Sequence

from status_tracker.connection.client import Client
from status_tracker.decode import Entry
from status_tracker.engine.batch import Batch
from status_tracker.engine.commit import commit_call
from status_tracker.keys import GROUP, Keys
from status_tracker.lua.commit import commit
from status_tracker.lua.glance import glance


class CommonStore:
    """The keys of a deployment in the layout `single`, where one command may use them all."""

    def __init__(
        self, client: Client, keys: Keys, partitions: int, *, max_changes: int, max_rejected: int
    ) -> None:
        self._client = client
        self._own = [keys.partition(number) for number in range(partitions)]
        self._numbers = {own.events.encode(): number for number, own in enumerate(self._own)}
        self._max_changes = max_changes
        self._max_rejected = max_rejected

    async def read(
        self, cursors: Mapping[int, str], *, count: int, block: int
    ) -> list[tuple[int, list[Entry]]]:
        """Read up to `count` entries after each partition's cursor; wait `block` ms for one."""
        limits = "COUNT", count, "BLOCK", block
        streams = [self._own[number].events for number in cursors]
        reply = await self._client.execute("XREAD", *limits, "STREAMS", *streams, *cursors.values())
        return [(self._numbers[stream], entries) for stream, entries in reply or ()]

    async def commit(self, batches: Sequence[Batch]) -> int:
        """Write all that batches of several partitions do, in one atomic step.

        They go by one revision of the rules, and have no forwards. Returns and raises what
        `Store.commit` does; where something is refused, it is not said for which of them.
        """
        call = commit_call(
            batches,
            [self._own[batch.number] for batch in batches],
            {},
            max_changes=self._max_changes,
            max_rejected=self._max_rejected,
        )
        return await commit(self._client, call)

    async def glance(self, expected: Mapping[int, tuple[str, int]], thorough: int) -> list[int]:
        """Return the numbers of partitions whose keys are not at their cursor and revision.

        Of one of them the stream's last ID is looked at, too.
        """
        numbers = list(expected)
        odd = await glance(
            self._client,
            partitions=[(self._own[each].partition, self._own[each].events) for each in numbers],
            group=GROUP,
            thorough=numbers.index(thorough),
            expected=[(cursor, str(revision)) for cursor, revision in expected.values()],
        )
        return [numbers[place] for place in odd]
