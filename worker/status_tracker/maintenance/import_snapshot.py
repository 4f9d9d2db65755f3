"""Filling a new deployment with a snapshot: of as many partitions, and in the layout, as wanted.

Until it is full, its `meta` key says so, and nobody uses it. Each partition's hash says up to which
line of the snapshot it is filled, so that the next run goes on where one was killed; and which run
fills it, so that of two only the later one writes.

The streams are new. Their IDs begin after the latest cursor of the snapshot, so that what was
published comes before all that is still to come; the totals begin at 0.
"""

import secrets
from collections import defaultdict
from collections.abc import Callable
from itertools import chain

import msgspec
from msgspec import Struct, field

from status_tracker.connection.client import Client, checked
from status_tracker.errors import ConfigError
from status_tracker.keys import Keys, Layout, PartitionKeys, partition_of
from status_tracker.lua.amend import amend
from status_tracker.lua.begin import begin
from status_tracker.lua.fill import fill
from status_tracker.maintenance.snapshot import Entity, Snapshot, bytes_of
from status_tracker.maintenance.window import Imported, as_numbers, ended_of
from status_tracker.metadata import Deployment, begin_import, finish_import

AT_ONCE = 500
BYTES_AT_ONCE = 1024 * 1024
"""Of entities that one script writes: some milliseconds of the server's time."""

MOST_AHEAD = 3_600_000
"""Milliseconds that a cursor may be ahead of the server's clock: the first worker recreates a
stream whose last ID is further ahead."""


class _Pending(Struct):
    """The entities of one partition that are still to be written."""

    line: int = 0
    """Of the last one."""
    number: int = 0
    size: int = 0
    statuses: dict[str, bytes] = field(default_factory=dict)
    scores: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    histories: dict[str, list[bytes]] = field(default_factory=dict)

    def add(self, own: PartitionKeys, line: int, entity: Entity) -> None:
        """Take one more."""
        self.line = line
        self.number += 1
        if entity.status is not None:
            status = self.statuses[own.status(entity.kind, entity.id)] = bytes_of(entity.status)
            self.size += len(status)
        for phase, score in entity.index.items():
            self.scores[own.phase(entity.kind, phase)] += (score, entity.id)
        if entity.history:
            history = list(map(bytes_of, entity.history))
            self.histories[own.history(entity.kind, entity.id)] = history
            self.size += sum(map(len, history))


async def import_snapshot(
    client: Client,
    prefix: str,
    snapshot: Snapshot,
    *,
    partitions: int,
    layout: Layout,
    imported: Callable[[int], object],
) -> Deployment:
    """Fill a new deployment with a snapshot that was checked, or go on where that was left.

    `imported` is told how many entities were taken.

    Raises `ConfigError` where there is one that is not the same snapshot's, or where another run
    goes on with this one.
    """
    header = snapshot.header
    await _check_empty(client, prefix, partitions)
    deployment = await begin_import(
        client,
        prefix,
        snapshot=header.snapshot,
        partitions=partitions,
        layout=layout,
        revision=header.revision,
        texts=header.rules,
    )
    filling = _Filling(client, deployment)
    await filling.take_over()
    for line, entity in snapshot.entities():
        await filling.add(line, entity)
        imported(1)
    parts = snapshot.parts
    await filling.finish([part.fields.get("cursor", "0-0") for part in parts])
    imported_from = Imported(header.snapshot, [ended_of(part.fields) for part in parts])
    await finish_import(client, deployment, msgspec.json.encode(imported_from).decode())
    return deployment


async def _check_empty(client: Client, prefix: str, partitions: int) -> None:
    """Refuse to begin where keys are that look like those of a deployment.

    Of one that there is, or that was begun to be filled, the `meta` key tells more.
    """
    layouts: tuple[Layout, ...] = ("single", "cluster")
    keys = [Keys(prefix, layout) for layout in layouts]
    if await client.execute("EXISTS", keys[0].meta):
        return
    wanted: dict[str, None] = {}
    for each in keys:
        for number in range(partitions):
            own = each.partition(number)
            wanted |= dict.fromkeys([own.partition, own.events, own.changes, own.rejected])
    found = checked(await client.execute_all([("EXISTS", key) for key in wanted]))
    for key, exists in zip(wanted, found, strict=True):
        if exists:
            raise ConfigError(
                f"{key} is there already: an import fills a new deployment; delete the keys of the "
                "old one, or choose another --prefix"
            )


class _Filling:
    """One run that fills a deployment."""

    def __init__(self, client: Client, deployment: Deployment) -> None:
        self._client = client
        self._deployment = deployment
        self._run = secrets.token_hex(8)
        self._owns = [deployment.keys.partition(each) for each in range(deployment.partitions)]
        self._pending: dict[int, _Pending] = {}
        # Partition → the line up to which it was filled by an earlier run.
        self._filled: dict[int, int] = {}

    async def take_over(self) -> None:
        """Have this run fill what is not full yet, and no other one."""
        for number in range(self._deployment.partitions):
            key = self._owns[number].partition
            # One that has begun has a revision, and is left as it is.
            held = await amend(self._client, meta=key, seen={}, fields={"importing": self._run})
            if held.get("importing") == self._run:
                self._filled[number] = int(held.get("imported", 0))
                self._pending[number] = _Pending()

    async def add(self, line: int, entity: Entity) -> None:
        """Take an entity; write those of its partition once there are many."""
        number = partition_of(entity.id, self._deployment.partitions)
        if line <= self._filled.get(number, line):
            return
        pending = self._pending[number]
        pending.add(self._owns[number], line, entity)
        if pending.number >= AT_ONCE or pending.size >= BYTES_AT_ONCE:
            await self._write(number)

    async def _write(self, number: int) -> None:
        pending, self._pending[number] = self._pending[number], _Pending()
        ours = await fill(
            self._client,
            partition=self._owns[number].partition,
            importing=self._run,
            line=pending.line,
            statuses=pending.statuses,
            scores=pending.scores,
            histories=pending.histories,
        )
        _check(ours=ours)

    async def finish(self, cursors: list[str]) -> None:
        """Write the rest and the counts, and let the partitions begin after these cursors."""
        for number, pending in self._pending.items():
            if pending.number:
                await self._write(number)
        for number in self._pending:
            await self._count(number)
        cursor = await self._first_cursor(cursors)
        for number in self._pending:
            own = self._owns[number]
            ours = await begin(
                self._client,
                partition=own.partition,
                events=own.events,
                importing=self._run,
                cursor=cursor,
                revision=self._deployment.revision,
            )
            _check(ours=ours)

    async def _count(self, number: int) -> None:
        own = self._owns[number]
        for kind, phases in self._deployment.phases().items():
            commands = [("ZCARD", own.phase(kind, each)) for each in phases]
            sizes = checked(await self._client.execute_all(commands))
            counts = {phase: size for phase, size in zip(phases, sizes, strict=True) if size}
            if counts:
                key = own.counts(kind)
                await self._client.execute("HSET", key, *chain.from_iterable(counts.items()))

    async def _first_cursor(self, cursors: list[str]) -> str:
        """Return the latest cursor; now, where somebody's entry had an ID of the far future."""
        seconds, _ = await self._client.execute("TIME")
        now = int(seconds) * 1000
        latest = max(cursors, key=as_numbers)
        return latest if as_numbers(latest)[0] <= now + MOST_AHEAD else f"{now}-0"


def _check(*, ours: bool) -> None:
    if not ours:
        raise ConfigError("importing: another import goes on with this one: wait until it is done")
