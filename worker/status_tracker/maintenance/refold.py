"""Folding what a stream holds onto the entities in a spool, as the workers folded it.

By their own decoder and fold, each entry by the revision of the rules that its partition had taken
up by then. What a commit does to the keys is done to the spool.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby

import msgspec
from msgspec.structs import replace

from status_tracker.connection.client import Client
from status_tracker.decode import Entry, find_all
from status_tracker.engine.batch import Batch, BatchBuilder, Wanted
from status_tracker.engine.folding import folded
from status_tracker.engine.reader import Read, pieces
from status_tracker.engine.statuses import StatusCache, Statuses
from status_tracker.engine.store import decode_status
from status_tracker.errors import UnavailableError
from status_tracker.fold import Corrupt
from status_tracker.maintenance.snapshot import Entity, bytes_of
from status_tracker.maintenance.spool import Spool, spooled
from status_tracker.maintenance.window import Place, as_numbers, read_window
from status_tracker.metadata import Deployment
from status_tracker.rules import Rules

CAPACITY = 50_000
CAPACITY_BYTES = 32 * 1024 * 1024
"""Statuses that are kept in memory meanwhile."""

_encode = msgspec.json.Encoder().encode


def revisions_of(fields: Mapping[str, str]) -> list[tuple[tuple[int, int], int]]:
    """Return the revisions that a partition took up, each after the ID at which it did so."""
    found = [
        (as_numbers(cursor), int(name.removeprefix("revision:")))
        for name, cursor in fields.items()
        if name.startswith("revision:")
    ]
    return sorted(found, key=lambda each: each[1])


class Refolding:
    """Folds a partition's entries onto the entities in a spool."""

    def __init__(
        self,
        client: Client,
        deployment: Deployment,
        number: int,
        fields: Mapping[str, str],
        spool: Spool,
    ) -> None:
        self.entries: int = 0
        """How many were folded."""
        self._client = client
        self._deployment = deployment
        self._number = number
        self._spool = spool
        self._own = deployment.keys.partition(number)
        self._taken_up = revisions_of(fields)
        self._rules = dict(deployment.revisions())
        cache = StatusCache(deployment.rules, capacity=CAPACITY, size=CAPACITY_BYTES)
        self._builder = BatchBuilder(deployment, cache, number=number)

    async def run(self, begin: Place, end: Place) -> None:
        """Fold all entries between two places; raises `UnavailableError` where that cannot be."""
        longest = max(rules.max_event_bytes for rules in self._rules.values())
        while begin != end:
            entries, begin = await read_window(self._client, self._own, begin, end, longest=longest)
            self.entries += len(entries)
            for revision, some in groupby(entries, self._revision_of):
                await self._fold(revision, list(some))

    def _revision_of(self, entry: Entry) -> int:
        """Return the revision of the rules by which an entry was folded."""
        at = as_numbers(entry[0].decode())
        taken_up = [number for cursor, number in self._taken_up if cursor < at]
        return max(taken_up, default=self._deployment.revision)

    async def _fold(self, revision: int, entries: Sequence[Entry]) -> None:
        builder = self._builder
        if revision != builder.deployment.revision:
            rules = self._known(revision)
            deployment = replace(self._deployment, revision=revision, rules=rules)
            builder.restart(builder.batch.cursor, deployment)
        for piece in pieces(Read(list(entries), *find_all(entries), more=False)):
            # Nothing is created without a look whether it is there: there is no commit to tell.
            builder.suspend_optimistic_creates()
            if piece.removing is None:
                folding = builder.fold(piece.entries, piece.values)
            else:
                folding = builder.remove(piece.entries[0], piece.removing)
            await folded(folding, self._load)
            batch = builder.close()
            self._write(batch)
            builder.committed(batch)

    def _known(self, revision: int) -> Rules:
        if revision not in self._rules:
            raise UnavailableError(
                f"{self._deployment.keys.meta} does not have rules:{revision}, by which entries of "
                f"{self._own.events} were folded: restore them"
            )
        return self._rules[revision]

    async def _load(self, wanted: Wanted) -> Mapping[str, Statuses]:
        loaded: dict[str, Statuses] = {kind: Statuses() for kind in wanted}
        for kind, ids in wanted.items():
            statuses = loaded[kind]
            for entity_id in ids:
                entity = self._spool.get(self._number, kind, entity_id)
                if entity is None or entity.status is None:
                    statuses.without[entity_id] = None
                    continue
                status = decode_status(self._own.status(kind, entity_id), bytes_of(entity.status))
                if isinstance(status, Corrupt):
                    statuses.without[entity_id] = status
                else:
                    statuses.known[entity_id] = status
        return loaded

    def _write(self, batch: Batch) -> None:
        """Do to the spool what the commit does to the keys."""
        changed: dict[tuple[str, str], Entity] = {}
        for kind, effects in batch.effects.items():
            for entity_id, status in effects.after.items():
                entity = self._spool.get(self._number, kind, entity_id)
                entity = entity or Entity(kind=kind, id=entity_id)
                changed[kind, entity_id] = replace(entity, status=_encode(status).decode())
        for change in batch.changes:
            entity = changed[change.kind, change.id]
            index = {phase: at for phase, at in entity.index.items() if phase != change.from_phase}
            history = entity.history
            if batch.history:
                history = [_encode(change).decode(), *history][: batch.history]
            changed[change.kind, change.id] = replace(
                entity, index=index | {change.phase: str(change.updated_at)}, history=history
            )
        self._spool.put(spooled(self._number, each) for each in changed.values())
        gone: dict[str, list[str]] = defaultdict(list)
        for kind, entity_id in batch.removed:
            gone[kind].append(entity_id)
        for kind, ids in gone.items():
            self._spool.drop(self._number, kind, ids)
