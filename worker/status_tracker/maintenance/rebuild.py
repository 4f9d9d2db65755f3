"""What the keys hold, beside what they are to hold by a snapshot and by the streams after it.

The keys are copied as for an export, each partition's at one cursor. Then the entries from the
snapshot's cursor up to that one are folded onto the snapshot's entities. So both sides are of one
cursor, and nobody has to stop.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from status_tracker.connection.client import Client
from status_tracker.errors import ConfigError, UnavailableError
from status_tracker.keys import PartitionKeys, partition_of
from status_tracker.maintenance.differences import Pair, pairs
from status_tracker.maintenance.export import copy_entities
from status_tracker.maintenance.refold import Refolding, revisions_of
from status_tracker.maintenance.snapshot import Snapshot
from status_tracker.maintenance.spool import Spool, Spooled, spooled
from status_tracker.maintenance.window import Place, place_of
from status_tracker.metadata import Deployment

AT_ONCE = 1_000
"""Entities of a snapshot that are put into the spool together."""


class Checked(NamedTuple):
    """What was found of one partition."""

    number: int
    entities: int
    entries: int
    """How many were folded."""
    problem: str
    """Why that cannot be; "" where it can."""


class Spools(NamedTuple):
    """The entities as they are to be, and as they are."""

    expected: Spool
    found: Spool

    def pairs(self, number: int) -> Iterator[Pair]:
        """Yield the entities of a partition that are not the same in both."""
        return pairs(self.expected.of(number), self.found.of(number))


class Rebuild:
    """Compares a deployment's keys with what its streams say."""

    def __init__(self, client: Client, deployment: Deployment, spools: Spools) -> None:
        """Have two spools filled, which are to be empty."""
        self._client = client
        self._deployment = deployment
        self._expected, self._found = spools

    async def check(
        self, snapshot: Snapshot | None, told: Callable[[int], object]
    ) -> list[Checked]:
        """Compare partition by partition; without a snapshot, from the beginning of the streams.

        The snapshot was checked; `told` is told how many entities were read. Raises what
        `copy_entities` raises; `ConfigError` where the snapshot has another number of partitions.
        """
        begun = None if snapshot is None else self._load(snapshot, told)
        copy = await copy_entities(self._client, self._deployment, self._found, told)
        return [
            await self._check(number, None if begun is None else begun[number], fields)
            for number, fields in copy.fields.items()
        ]

    def _load(
        self, snapshot: Snapshot, told: Callable[[int], object]
    ) -> Mapping[int, Mapping[str, str]]:
        """Put the entities of a snapshot into the spool; return its partitions' hashes."""
        partitions = self._deployment.partitions
        if snapshot.header.partitions != partitions:
            raise ConfigError(
                f"partitions: the snapshot is of a deployment with {snapshot.header.partitions}, "
                f"and {self._deployment.keys.meta} says {partitions}: give a snapshot of this one"
            )
        rows: list[Spooled] = []
        for _, entity in snapshot.entities():
            rows.append(spooled(partition_of(entity.id, partitions), entity))
            if len(rows) == AT_ONCE:
                self._expected.put(rows)
                told(len(rows))
                rows = []
        self._expected.put(rows)
        return {part.number: part.fields for part in snapshot.parts}

    async def _check(
        self, number: int, begun: Mapping[str, str] | None, fields: Mapping[str, str]
    ) -> Checked:
        own, entities = self._deployment.keys.partition(number), self._found.count(number)
        try:
            begin = _beginning(own, fields) if begun is None else place_of(own, begun)
            folding = Refolding(self._client, self._deployment, number, fields, self._expected)
            await folding.run(begin, place_of(own, fields))
        except UnavailableError as error:
            return Checked(number, entities, 0, str(error))
        return Checked(number, entities, folding.entries, "")


def _beginning(own: PartitionKeys, fields: Mapping[str, str]) -> Place:
    """Return where a partition began; raises `UnavailableError` where its stream does not tell."""
    taken_up = revisions_of(fields)
    if taken_up and taken_up[0][0] != (0, 0):
        raise UnavailableError(
            f"{own.partition}: before its first revision of the rules there was something else "
            "that published here, an import perhaps: give a snapshot, with --from"
        )
    return Place("0-0", 0, "0")
