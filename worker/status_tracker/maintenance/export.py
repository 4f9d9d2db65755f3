"""A copy of all entities, each partition's as they were at one cursor, while workers run.

The ids are taken from the index, in pages, and what their keys hold goes into a spool. Meanwhile a
worker may have applied more entries. So those between the first cursor and the last are read: they
name whatever may have changed, and only that is copied again. Once the cursor has not moved during
such a copy, the spool holds what the keys held at that cursor. Nobody has to wait.
"""

import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from status_tracker.connection.client import Client, Command, checked
from status_tracker.decode import Entry, find_data, invalid_id
from status_tracker.errors import UnavailableError
from status_tracker.keys import PartitionKeys, partition_of
from status_tracker.lua.release import release
from status_tracker.maintenance.snapshot import VERSION, End, Entity, Header, Part, line_of, text_of
from status_tracker.maintenance.spool import Spool, Spooled, spooled
from status_tracker.maintenance.window import named_in, place_of, read_window
from status_tracker.metadata import Deployment, read_revision
from status_tracker.models import Rejection
from status_tracker.removal import decode_removal
from status_tracker.text import decoded_fields

PAGE = 500
"""Entities that are copied at once. Each has to be looked for in every phase, which the server does
in some microseconds: a page is no pause."""

PATIENCE = 10
"""Times that what changed is copied again, until the partition's lease is taken from its worker: a
link may be so slow that there is always a commit in between. The partition then pauses for a
heartbeat, or less."""

LEASE_MS = 10_000
"""Until the lease runs out by itself, were we killed."""


class Copy(NamedTuple):
    """What was copied into the spool."""

    fields: dict[int, dict[str, str]]
    """The hash of each partition, as it was when its entities were so."""
    left_out: int
    """How many ids were in the index that no entity can have there."""


async def count_entities(client: Client, deployment: Deployment) -> int:
    """Return how many entities there are, about."""
    sets = {
        deployment.keys.partition(number).phase(kind, phase)
        for number in range(deployment.partitions)
        for kind, phases in deployment.phases().items()
        for phase in phases
    }
    return sum(checked(await client.execute_all([("ZCARD", each) for each in sets])))


async def copy_entities(
    client: Client, deployment: Deployment, spool: Spool, copied: Callable[[int], object]
) -> Copy:
    """Copy all entities into a spool; tell how many whenever some were copied.

    Raises `UnavailableError` where entries were trimmed away before they were read here, or where
    the rules were revised meanwhile.
    """
    copying = _Copying(client, deployment, spool, copied)
    fields: dict[int, dict[str, str]] = {}
    numbers = list(range(deployment.partitions))
    # In the layout `single` all partitions have one index.
    groups = [numbers] if deployment.keys.layout == "single" else [[each] for each in numbers]
    for group in groups:
        begun = {number: await copying.fields(number) for number in group}
        await copying.scan(group)
        for number in group:
            fields[number] = await copying.catch_up(number, begun[number])
    _, revision = await read_revision(client, deployment.keys)
    if revision != str(deployment.revision):
        raise UnavailableError("the rules were revised meanwhile: export again")
    return Copy(fields, copying.left_out)


def snapshot_lines(deployment: Deployment, spool: Spool, copy: Copy) -> Iterator[bytes]:
    """Yield the lines of a snapshot."""
    name = secrets.token_hex(8)
    yield line_of(
        Header(
            version=VERSION,
            snapshot=name,
            prefix=deployment.keys.prefix,
            partitions=deployment.partitions,
            layout=deployment.keys.layout,
            revision=deployment.revision,
            rules=dict(deployment.texts),
        )
    )
    total = 0
    for number, fields in sorted(copy.fields.items()):
        entities = spool.count(number)
        total += entities
        yield line_of(Part(number=number, entities=entities, fields=fields))
        for each in spool.of(number):
            yield each.line
    yield line_of(End(snapshot=name, entities=total))


class _Copying:
    """One copy of a deployment."""

    def __init__(
        self,
        client: Client,
        deployment: Deployment,
        spool: Spool,
        copied: Callable[[int], object],
    ) -> None:
        self._client = client
        self._deployment = deployment
        self._spool = spool
        self._copied = copied
        self._name = f"export-{secrets.token_hex(3)}"
        self.left_out = 0
        self._phases = deployment.phases()
        every = [rules for _, rules in deployment.revisions()]
        self._longest = max(rules.max_event_bytes for rules in every)
        self._has_history = any(rules.history for rules in every)

    async def fields(self, number: int) -> dict[str, str]:
        """Return the hash of a partition."""
        own = self._deployment.keys.partition(number)
        return decoded_fields(await self._client.execute("HGETALL", own.partition))

    async def scan(self, group: Sequence[int]) -> None:
        """Copy all entities of partitions that share an index."""
        own = self._deployment.keys.partition(group[0])
        for kind, phases in self._phases.items():
            for phase in phases:
                async for ids in self._ids(own.phase(kind, phase)):
                    fitting = [each for each in ids if self._home(each) in group]
                    self.left_out += len(ids) - len(fitting)
                    await self._copy(own, kind, fitting)
                    self._copied(len(fitting))

    async def catch_up(self, number: int, begun: Mapping[str, str]) -> dict[str, str]:
        """Copy what changed since the partition's hash was so, until nothing did.

        Returns the hash as it is then.
        """
        own = self._deployment.keys.partition(number)
        place = place_of(own, begun)
        missed = 0
        async with AsyncExitStack() as stack:
            while True:
                fields = await self.fields(number)
                now = place_of(own, fields)
                if now == place:
                    return fields
                entries, place = await read_window(
                    self._client, own, place, now, longest=self._longest
                )
                for kind, ids in self._touched(number, entries).items():
                    await self._copy(own, kind, ids)
                missed += place == now
                if missed == PATIENCE:
                    missed = 0
                    await stack.enter_async_context(self._held(number))

    def _touched(self, number: int, entries: Iterable[Entry]) -> Mapping[str, Sequence[str]]:
        """Return which entities entries are about, by kind."""
        touched: dict[str, dict[str, None]] = defaultdict(dict)
        for _, flat in entries:
            for kind, entity_id in self._named(number, flat):
                if kind in self._phases and self._home(entity_id) == number:
                    touched[kind][entity_id] = None
        return {kind: list(ids) for kind, ids in touched.items()}

    def _named(self, number: int, flat: Sequence[bytes]) -> Iterable[tuple[str, str]]:
        value = find_data(flat)
        if isinstance(value, bytes):
            update = named_in(value)
            return [] if update is None else [(update.kind, update.id)]
        if isinstance(value, Rejection):
            return []
        removables = decode_removal(
            value.data,
            number=number,
            partitions=self._deployment.partitions,
            max_event_bytes=self._longest,
        )
        return [] if isinstance(removables, Rejection) else [(e.kind, e.id) for e in removables]

    def _home(self, entity_id: str) -> int | None:
        """Return the partition of an entity; None where no entity can have such an id."""
        if invalid_id(entity_id) is not None:
            return None
        return partition_of(entity_id, self._deployment.partitions)

    async def _ids(self, key: str) -> AsyncIterator[list[str]]:
        """Yield the members of a set; those that are in it all the time come for sure."""
        cursor = b"0"
        while True:
            cursor, flat = await self._client.execute("ZSCAN", key, cursor, "COUNT", PAGE)
            yield [_id_of(each) for each in flat[::2]]
            if cursor == b"0":
                return

    async def _copy(self, own: PartitionKeys, kind: str, ids: Sequence[str]) -> None:
        """Copy entities of one kind as they are now; forget those that are not there."""
        for begin in range(0, len(ids), PAGE):
            entities = await self._entities(own, kind, ids[begin : begin + PAGE])
            rows: list[Spooled] = []
            gone: dict[int, list[str]] = defaultdict(list)
            for each in entities:
                number = partition_of(each.id, self._deployment.partitions)
                if each.status is None and not each.index and not each.history:
                    gone[number].append(each.id)
                else:
                    rows.append(spooled(number, each))
            self._spool.put(rows)
            for number, missing in gone.items():
                self._spool.drop(number, kind, missing)

    async def _entities(
        self, own: PartitionKeys, kind: str, ids: Sequence[str]
    ) -> Iterable[Entity]:
        phases = list(self._phases[kind])
        commands: list[Command] = [("MGET", *(own.status(kind, each) for each in ids))]
        commands += [("ZMSCORE", own.phase(kind, phase), *ids) for phase in phases]
        if self._has_history:
            commands += [("LRANGE", own.history(kind, each), 0, -1) for each in ids]
        statuses, *replies = await self._replies(commands)
        scores = list(zip(*replies[: len(phases)], strict=True))
        histories = replies[len(phases) :] or [[]] * len(ids)
        return (
            Entity(
                kind=kind,
                id=entity_id,
                status=None if status is None else text_of(status),
                index={
                    phase: score.decode()
                    for phase, score in zip(phases, of_phases, strict=True)
                    if score is not None
                },
                history=[text_of(each) for each in history],
            )
            for entity_id, status, of_phases, history in zip(
                ids, statuses, scores, histories, strict=True
            )
        )

    async def _replies(self, commands: Sequence[Command]) -> list[Any]:
        """Return replies; raises an error that names the key."""
        replies = await self._client.execute_all(commands)
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, Exception):
                raise type(reply)(f"{command[1]!s}: {reply}")
        return replies

    @asynccontextmanager
    async def _held(self, number: int) -> AsyncIterator[None]:
        """Take a partition's lease from its worker, which then stops within a heartbeat."""
        lease = self._deployment.keys.lease(number)
        await self._client.execute("SET", lease, self._name, "PX", LEASE_MS)
        try:
            yield
        finally:
            await release(self._client, leases=[lease], name=self._name)


def _phases(deployment: Deployment) -> dict[str, dict[str, None]]:
    """Return the phases of each kind, of all revisions: a status may keep one that was dropped."""
    phases: dict[str, dict[str, None]] = defaultdict(dict)
    for _, rules in deployment.revisions():
        for kind, lifecycle in rules.kinds.items():
            phases[kind] |= dict.fromkeys(lifecycle.phases)
    return phases


def _id_of(member: bytes) -> str:
    """Return a member of a set as an id: "", which is none, for bytes that are no text."""
    try:
        return member.decode()
    except UnicodeDecodeError:
        return ""
