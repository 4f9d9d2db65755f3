"""Taking away what has been in its phase for long enough: `remove` entries, as anybody may add.

It goes by the score in the phase's set. Each entry names time and phase of the statuses, so what
changes before it is applied stays. Two owners at once add two entries, of which one does nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping

from status_tracker.client.feed import id_parts
from status_tracker.connection.client import UNAVAILABLE, Client, Command, checked
from status_tracker.decode import invalid_id
from status_tracker.engine.heard import Heard
from status_tracker.keys import partition_of
from status_tracker.lua.page import BEGINNING, Place
from status_tracker.maintenance.index import PAGE, Share, pages, shares, statuses
from status_tracker.maintenance.upkeep import tenth
from status_tracker.metadata import Deployment
from status_tracker.removal import AT_ONCE, Removable, encode_removal
from status_tracker.text import decoded

ENTRIES = 4
"""Of one partition that are under way: no more, so that updates are not held up."""

MOST_PAGES = 4
"""Of one set in a look."""

LONGEST_PAUSE = 30.0
"""Seconds between two looks at most; else a tenth of the shortest time after which one goes."""

Due = dict[int, list[Removable]]
"""Number of the partition → what is to be taken away there."""


class Retention:
    """Adds `remove` entries to the streams of this worker's partitions."""

    name: str = "retention"

    def __init__(
        self,
        client: Client,
        deployment: Callable[[], Deployment],
        owned: Callable[[], Mapping[int, Heard]],
    ) -> None:
        self._client = client
        self._deployment = deployment
        self._owned = owned
        # Of each partition the last entry that is still to be applied, and the era of that.
        self._added: dict[int, tuple[object, str]] = {}
        # Of each set the place to go on from: what is before it is other workers'.
        self._places: dict[str, Place] = {}

    @property
    def pause(self) -> float:
        """Seconds until the next look, where nothing is left to do."""
        kinds = self._deployment().rules.kinds.values()
        times = (time for each in kinds for time in each.retention.values())
        return tenth(times, longest=LONGEST_PAUSE)

    async def look(self, now: int) -> bool:
        """Take away what is due at a time, in milliseconds; tell whether there may be more."""
        deployment, owned = self._deployment(), self._owned()
        self._added = {
            number: added
            for number, added in self._added.items()
            if number in owned and _is_unread(owned[number], *added)
        }
        due: Due = defaultdict(list)
        failure: Exception | None = None
        for share in shares(deployment, owned.keys() - self._added.keys()):
            try:
                for kind, lifecycle in deployment.rules.kinds.items():
                    for phase, time in lifecycle.retention.items():
                        await self._find(deployment, share, (kind, phase), now - time, due)
            except UNAVAILABLE as error:
                failure = error  # it may be one node, and is nothing to the others
        await self._add(deployment, owned, due)
        if failure is not None:
            raise failure
        return bool(self._added or self._places)

    async def _find(
        self, deployment: Deployment, share: Share, phase: tuple[str, str], until: int, due: Due
    ) -> None:
        """Add to what is due who has been in a phase since a time, or for longer."""
        kind, name = phase
        key = share.own.phase(kind, name)
        after = self._places.pop(key, BEGINNING)
        done = 0
        found = False
        async for page in pages(self._client, key, after=after, until=until):
            homes = [(partition_of(each, deployment.partitions), each) for each, _ in page.members]
            ours = [
                (number, entity_id)
                for number, entity_id in homes
                if number in share.numbers
                and len(due[number]) < ENTRIES * AT_ONCE
                and invalid_id(entity_id) is None  # somebody made it up: it would have all refused
            ]
            entities = [(kind, entity_id) for _, entity_id in ours]
            held = await statuses(self._client, share.own, entities)
            for number, entity_id in ours:
                status = held[kind, entity_id]
                # Who left the phase meanwhile stays.
                if status is not None and status.phase == name:
                    found = True
                    due[number].append(Removable(kind, entity_id, status.updated_at, name))
            done += 1
            if all(len(due[number]) >= ENTRIES * AT_ONCE for number in share.numbers):
                return
            if done == MOST_PAGES:
                if not found and len(page.members) == PAGE:
                    self._places[key] = page.last
                return

    async def _add(
        self, deployment: Deployment, owned: Mapping[int, Heard], due: Mapping[int, list[Removable]]
    ) -> None:
        """Add entries to the stream of each partition; the next ones once these are applied."""
        most = deployment.rules.max_event_bytes
        numbers: list[int] = []
        commands: list[Command] = []
        for number, some in due.items():
            for first in range(0, min(len(some), ENTRIES * AT_ONCE), AT_ONCE):
                data = encode_removal(some[first : first + AT_ONCE], most)
                if data is not None:
                    numbers.append(number)
                    # Where there is no stream, the owner creates it, with its group.
                    add = "XADD", deployment.keys.events(number), "NOMKSTREAM"
                    commands.append((*add, "*", "remove", data))
        if not commands:
            return
        replies = await self._client.execute_all(commands)
        for number, entry_id in zip(numbers, replies, strict=True):
            if isinstance(entry_id, bytes) and number in owned:
                self._added[number] = owned[number].era, decoded(entry_id)
        checked(replies)


def _is_unread(heard: Heard, era: object, entry_id: str) -> bool:
    if heard.era is not era:
        return False
    # Without a cursor, its owner could not begin yet.
    return not heard.cursor or id_parts(heard.cursor) < id_parts(entry_id)
