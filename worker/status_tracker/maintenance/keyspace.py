"""The keys of all entities, read in small steps while workers write them.

No step takes more than a few milliseconds of the server, and only what one reads is in memory.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from status_tracker.connection.client import Client, Command, checked
from status_tracker.connection.cluster import masters
from status_tracker.keys import KeyName, PartitionKeys
from status_tracker.lua.examine import call as examine_call
from status_tracker.lua.examine import examine
from status_tracker.lua.newest import newest
from status_tracker.maintenance.judge import Entity, Held, OtherType, Seen, raw
from status_tracker.metadata import Deployment
from status_tracker.rules import Rules

T = TypeVar("T")

PAGE = 500
"""Keys, or members of a set, that are gone through in a step: it takes half a millisecond."""

AT_ONCE = 2 * PAGE
"""Statuses that are read in a step, if they are small: all of a page, which may be a bit larger."""

BYTES_AT_ONCE = 512 * 1024
"""About how long all statuses are that are read in a step."""

LISTS_AT_ONCE = 200
"""Histories whose newest change is read in a step."""


class Keyspace:
    """What the keys of a deployment hold."""

    def __init__(self, client: Client, deployment: Deployment) -> None:
        self._client = client
        self._keys = deployment.keys
        count = deployment.partitions if self._keys.layout == "cluster" else 1
        self._owns = [self._keys.partition(number) for number in range(count)]
        self._at_once = AT_ONCE // 10

    @property
    def owns(self) -> Sequence[PartitionKeys]:
        """The keys of all partitions; of one, where all have the same index."""
        return self._owns

    def entity(self, named: KeyName) -> Entity:
        """Return whose key it is."""
        # What has the tag of a partition that there is not is looked at in its place, too.
        there = named.number < len(self._owns)
        own = self._owns[named.number] if there else self._keys.partition(named.number)
        return Entity(own, named.kind, named.name)

    async def names(self) -> AsyncIterator[list[KeyName]]:
        """Go through all keys there are; yield what the names of some say.

        A server has no list of keys by their prefix, so others' keys are gone through, too.
        """
        pattern = "".join(f"\\{each}" if each in r"\*?[]^-" else each for each in self._keys.prefix)
        for master in await masters(self._client):
            async for page in _scan(master, "SCAN", after=("MATCH", f"{pattern}:*")):
                yield [found for key in page if (found := self._keys.named(_text(key)))]

    async def members(
        self, own: PartitionKeys, kind: str, key: str
    ) -> AsyncIterator[Sequence[tuple[Entity, bytes]]]:
        """Go through a sorted set of ids; yield some entities, with their scores."""
        async for page in _scan(self._client, "ZSCAN", key):
            ids = [Entity(own, kind, _text(name)) for name in page[::2]]
            for some in self.cut(list(zip(ids, page[1::2], strict=True))):
                yield some

    def cut(self, items: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield as many items at once as statuses are to be read in a step."""
        begin = 0
        while begin < len(items):
            end = begin + self._at_once
            yield items[begin:end]
            begin = end

    async def documents(self, entities: Sequence[Entity]) -> list[bytes | None]:
        """Return the text in the status key of each."""
        places = _places(entities)
        commands: list[Command] = [
            ("MGET", *(entities[each].status for each in some)) for some in places
        ]
        replies = checked(await self._client.execute_all(commands))
        documents = _in_order(places, replies)
        size = sum(map(len, filter(None, documents)))
        self._at_once = max(1, min(AT_ONCE, BYTES_AT_ONCE * len(documents) // max(size, 1)))
        return documents

    async def scores(self, entities: Sequence[Entity], phases: Sequence[str]) -> list[bytes | None]:
        """Return the score of each in the set of a phase; None where it has none there."""
        by_set: dict[str, list[int]] = defaultdict(list)
        for place, (entity, phase) in enumerate(zip(entities, phases, strict=True)):
            by_set[entity.own.phase(entity.kind, phase)].append(place)
        commands: list[Command] = [
            ("ZMSCORE", key, *(raw(entities[place].id) for place in places))
            for key, places in by_set.items()
        ]
        replies = await self._client.execute_all(commands)
        for place, (reply, places) in enumerate(zip(replies, by_set.values(), strict=True)):
            if isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply):
                replies[place] = [None] * len(places)
        return _in_order([*by_set.values()], checked(replies))

    async def newest(self, entities: Sequence[Entity]) -> list[Held]:
        """Return the newest change in the history of each."""
        places = [
            some[begin : begin + LISTS_AT_ONCE]
            for some in _places(entities)
            for begin in range(0, len(some), LISTS_AT_ONCE)
        ]
        lists = [[entities[each].history for each in some] for some in places]
        return list(map(_held, _in_order(places, await newest(self._client, lists))))

    async def without_status(self, entities: Sequence[Entity]) -> list[Entity]:
        """Return those that have no status."""
        places = _places(entities)
        commands: list[Command] = [
            ("EXISTS", *(entities[each].status for each in some)) for some in places
        ]
        counts = checked(await self._client.execute_all(commands))
        doubtful = [
            entities[each]
            for some, count in zip(places, counts, strict=True)
            for each in some
            if count < len(some)
        ]
        commands = [("EXISTS", each.status) for each in doubtful]
        exist = checked(await self._client.execute_all(commands)) if doubtful else []
        return [each for each, exists in zip(doubtful, exist, strict=True) if not exists]

    async def examine(self, entities: Sequence[Entity], rules: Rules) -> list[Seen]:
        """Return what the keys of each hold in one step, with its scores in its kind's sets."""
        phases = [
            rules.kinds[each.kind].phases if each.kind in rules.kinds else () for each in entities
        ]
        calls = [
            examine_call(
                status=each.status,
                history=each.history,
                stalled=each.own.stalled(each.kind),
                phases=[each.own.phase(each.kind, phase) for phase in of_kind],
                entity_id=raw(each.id),
            )
            for each, of_kind in zip(entities, phases, strict=True)
        ]
        replies = await examine(self._client, calls)
        return [_seen(*each) for each in zip(replies, phases, strict=True)]


async def _scan(
    client: Client, *command: str, after: Sequence[str] = ()
) -> AsyncIterator[list[bytes]]:
    cursor = "0"
    while True:
        reply = await client.execute(*command, cursor, *after, "COUNT", PAGE)
        cursor, page = reply[0].decode(), reply[1]
        yield page
        if cursor == "0":
            return


def _places(entities: Sequence[Entity]) -> list[list[int]]:
    """Return the places of entities, those together whose keys share a slot."""
    by_tag: dict[int | None, list[int]] = defaultdict(list)
    for place, entity in enumerate(entities):
        by_tag[entity.own.tagged].append(place)
    return list(by_tag.values())


def _placed(places: Sequence[Sequence[int]], replies: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    for some, reply in zip(places, replies, strict=True):
        yield from zip(some, reply, strict=True)


def _in_order(places: Sequence[Sequence[int]], replies: Sequence[Any]) -> list[Any]:
    """Return the replies about entities in the order of these."""
    return [held for _, held in sorted(_placed(places, replies), key=lambda each: each[0])]


def _seen(reply: Sequence[Any], phases: Sequence[str]) -> Seen:
    document, change, mark, *scores = reply
    found = zip(phases, scores, strict=True)
    return Seen(
        document=_held(document),
        # Of a set that is none by now, nothing can be said.
        scores={phase: score for phase, score in found if not isinstance(score, list)},
        newest=_held(change),
        mark=None if isinstance(mark, list) else mark,
    )


def _held(reply: Any) -> Held:
    return OtherType(reply[0].decode()) if isinstance(reply, list) else reply


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
