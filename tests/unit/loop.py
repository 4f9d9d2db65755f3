"""A partition's loop without a server: batches go to a keyspace that is a few dicts."""

from collections.abc import Sequence

import msgspec
from status_tracker.decode import Entry, find_all
from status_tracker.engine.batch import Batch, Known, Pipeline
from status_tracker.fold import Corrupt
from status_tracker.models import Change, Kind, Status, TaskChange

from tests.unit.folding import MAX_EVENT_BYTES, RULES, published


class Keyspace:
    """What the server would hold after the commits of one partition."""

    def __init__(self) -> None:
        self.statuses: dict[tuple[Kind, str], Status] = {}
        self.corrupt: dict[tuple[Kind, str], Corrupt] = {}
        self.phases: dict[tuple[str, str], dict[str, int | float]] = {}
        self.changes: list[Change] = []
        self.rejected: list[tuple[str, str, bytes]] = []
        self.forwards: list[tuple[int, bytes]] = []
        self.duplicates = 0

    def load(self, wanted: dict[Kind, list[str]]) -> dict[Kind, Known]:
        """Load statuses, as `Store.load` does."""
        loaded: dict[Kind, Known] = {}
        for kind, ids in wanted.items():
            found = loaded[kind] = Known()
            for entity_id in ids:
                if (kind, entity_id) in self.statuses:
                    status = self.statuses[kind, entity_id]
                    found.statuses[entity_id] = status
                else:
                    found.without[entity_id] = self.corrupt.get((kind, entity_id))
        return loaded

    def commit(self, batch: Batch) -> bool:
        """Write a batch, unless it was folded from statuses that are not the ones held here."""
        for kind, effects in batch.effects.items():
            for entity_id, before in zip(effects.after, effects.before, strict=True):
                held = self.statuses.get((kind, entity_id))
                if (before and published(before)) != (held and published(held)):
                    return False
                if (kind, entity_id) in self.corrupt:
                    return False
        for kind, effects in batch.effects.items():
            for entity_id, status in effects.after.items():
                self.statuses[kind, entity_id] = status
        for change in batch.changes:
            kind = "task" if isinstance(change, TaskChange) else "asset"
            if change.from_phase is not None:
                del self.phases[kind, change.from_phase][change.id]
            self.phases.setdefault((kind, change.phase), {})[change.id] = change.updated_at
        self.changes += batch.changes
        self.rejected += [(entry.reason, entry.id, entry.data) for entry in batch.rejected]
        for number in sorted(batch.forwards):
            self.forwards += [(number, each.data) for each in batch.forwards[number]]
        self.duplicates += batch.duplicates
        return True

    def documents(self) -> dict[tuple[Kind, str], str]:
        """Return every status as it would be published."""
        return {entity: published(status) for entity, status in self.statuses.items()}

    def index(self) -> dict[tuple[str, str], dict[str, int | float]]:
        """Return the sets of ids that are not empty."""
        return {key: ids for key, ids in self.phases.items() if ids}

    def feed(self) -> list[object]:
        """Return the change feed as it would be published."""
        return [msgspec.json.decode(msgspec.json.encode(change)) for change in self.changes]


class Loop:
    """Reads, loads, folds and commits, as `Partition` does."""

    def __init__(
        self, keyspace: Keyspace | None = None, *, partitions: int = 1, live_statuses: int = 1000
    ) -> None:
        self.keyspace = keyspace or Keyspace()
        self.loaded: list[tuple[Kind, str]] = []
        """What the last batch had to load."""
        self.refused = 0
        """How many commits were: an entity was taken for new, and was not."""
        self.pipeline = Pipeline(
            RULES,
            stream="status:events:{0}",
            number=0,
            partitions=partitions,
            max_event_bytes=MAX_EVENT_BYTES,
            live_statuses=live_statuses,
        )

    def restart(self) -> None:
        """Begin with nothing in memory, where the last batch ended."""
        self.pipeline.start(self.pipeline.in_hand.cursor)

    def fold(self, *entries: Entry) -> None:
        """Add entries to the batch in hand."""
        self.pipeline.decode(entries, find_all(entries)[0])
        self.loaded = []
        while wanted := self.pipeline.fold():
            self.loaded += [(kind, entity_id) for kind, ids in wanted.items() for entity_id in ids]
            self.pipeline.learn(self.keyspace.load(wanted))

    def run(self, *entries: Entry) -> Batch:
        """Take entries as one batch; once more where an entity was taken for new and is not."""
        self.fold(*entries)
        batch = self.pipeline.close()
        if not self.land(batch):
            self.fold(*entries)
            batch = self.pipeline.close()
            assert self.land(batch), "whoever doubts is never wrong"
        return batch

    def land(self, batch: Batch) -> bool:
        """Commit a batch; where it is refused, begin anew where it was read from."""
        if self.keyspace.commit(batch):
            self.pipeline.settle(batch)
            return True
        self.refused += 1
        self.pipeline.doubt()
        self.pipeline.start(batch.read_from)
        return False


def entry(data: bytes | None, entry_id: str = "1700000000000-0") -> Entry:
    """Return an entry as the server sends it; None for one that has another field only."""
    fields: Sequence[bytes] = [b"text", b"hello"] if data is None else [b"data", data]
    return entry_id.encode(), fields
