"""Whoever keeps a copy of all statuses by `snapshot` and `changes` has what the keys have."""

from collections import Counter
from contextlib import closing
from random import Random
from typing import Any

from msgspec import json
from status_tracker import FeedEvent, Status
from status_tracker.keys import partition_of
from status_tracker.rules import rules_json
from status_tracker.testing import Kit

KINDS = ("task", "asset")

BY_THEMSELVES: dict[str, dict[str, Any]] = {
    "task": {
        "stalled": {"waiting": "8m", "running": "5m"},
        "on_stalled": "failed",
        "retention": {"completed": "10m", "failed": "12m", "cancelled": "4m"},
    },
    "asset": {"stalled": {"processing": "5m"}, "retention": {"deleted": "4m", "failed": "12m"}},
}
"""What happens by itself, so soon that much of it does within an hour."""

Known = tuple[str, int | None]
"""The phase of an entity, and how often it was retried: what only a change of phase changes."""


def known(status: Status) -> Known:
    """Return what a mirror has of a status."""
    return status.phase, status.retries


class Mirror:
    """A copy of all statuses."""

    def __init__(self, kit: Kit) -> None:
        snapshots = {kind: kit.reader.snapshot(kind) for kind in KINDS}
        self.entities: dict[tuple[str, str], Known] = {
            (kind, entity_id): known(status)
            for kind, snapshot in snapshots.items()
            for entity_id, status in snapshot.statuses.items()
        }
        # What happened between two snapshots is told again.
        self._changes = kit.reader.changes(after=snapshots[KINDS[0]].token)

    def follow(self, last: str) -> list[FeedEvent]:
        """Take in what changed, up to the task that was the last to begin."""
        events = []
        for event in self._changes:
            events.append(event)
            if event.status is None:
                self.entities.pop((event.kind, event.id), None)
            else:
                self.entities[event.kind, event.id] = known(event.status)
            if event.id == last:
                break
        return events

    def close(self) -> None:
        """Follow no longer."""
        self._changes.close()


class Service:
    """What users' programs do in three minutes, by chance."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._chance = Random(20)
        self._kinds = kit.reader.rules().kinds
        self._gone: list[tuple[str, str]] = []

    def work(self, step: int, entities: dict[tuple[str, str], Known]) -> None:
        """Begin, go on with, forget and begin again some of what there is."""
        chance, emit = self._chance, self._kit.emitter.emit
        for kind in (*KINDS, *KINDS):
            entity_id = f"{kind}-{step}-{chance.random()}"
            emit(kind, entity_id, chance.choice(sorted(self._kinds[kind].initial)))
        for (kind, entity_id), (phase, _) in entities.items():
            ways = [*self._kinds[kind].edges[phase]]
            match chance.randrange(4):
                case 0 if ways:
                    emit(kind, entity_id, chance.choice(ways))
                case 1:
                    emit(kind, entity_id, phase, progress=chance.random())
        for kind, entity_id in self._gone:
            emit(kind, entity_id, min(self._kinds[kind].initial))
        self._gone = chance.sample(sorted(entities), min(2, len(entities)))
        for kind, entity_id in self._gone:
            stream = f"status:events:{{{partition_of(entity_id, 4)}}}"
            self._kit.client.xadd(stream, {"remove": json.encode([[kind, entity_id]])})


def held(kit: Kit) -> dict[tuple[str, str], Known]:
    """Return what the keys hold of all entities; counts and index say the same."""
    client: Any = kit.client
    found: dict[tuple[str, str], Known] = {}
    for kind in KINDS:
        prefix = f"status:{kind}:"
        keys = [key.decode() for key in client.scan_iter(match=f"{prefix}*")]
        for key, document in zip(keys, client.mget(keys) if keys else [], strict=True):
            found[kind, key.removeprefix(prefix)] = known(json.decode(document, type=Status))
        counts = Counter(phase for (of, _), (phase, _) in found.items() if of == kind)
        assert +Counter(kit.reader.counts(kind)) == counts
        for phase, count in counts.items():
            assert client.zcard(f"status:phase:{kind}:{phase}") == count
    return found


def test_a_mirror_stays_equal(status_tracker: Kit) -> None:
    """For an hour, in which entities work, stall, come back, are forgotten and grow too old."""
    tables = json.decode(rules_json(status_tracker.reader.rules()))
    status_tracker.rules(**{kind: tables[kind] | BY_THEMSELVES[kind] for kind in KINDS})
    service, happened = Service(status_tracker), Counter[str]()
    service.work(0, {})
    status_tracker.settle()
    with closing(Mirror(status_tracker)) as mirror:
        for step in range(1, 21):
            service.work(step, mirror.entities)
            status_tracker.clock.advance("3m")
            status_tracker.emitter.task(f"last-{step}", "pending")
            status_tracker.settle()
            events = mirror.follow(f"last-{step}")
            assert mirror.entities == held(status_tracker)
            marked = status_tracker.reader.stalled("asset").entities.values()
            assert {each.status.phase for each in marked} <= {"processing"}
            happened["marked"] += len(marked)
            happened["removed"] += sum(event.status is None for event in events)
            happened["failed"] += sum(
                event.status is not None and "no update" in (event.status.error_message or "")
                for event in events
            )
    assert happened["removed"] > 2 * 20 + 10  # two were forgotten in each step
    assert min(happened["marked"], happened["failed"]) > 5
