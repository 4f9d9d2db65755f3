"""The statuses that a worker keeps in memory between batches, and when it lets them go."""

from collections.abc import Mapping
from itertools import islice

from msgspec import Struct, field

from status_tracker.fold import Corrupt
from status_tracker.lifecycle import Lifecycles
from status_tracker.models import Kind, Status


class Statuses(Struct):
    """What is known of the entities of one kind: nothing of those that are nowhere in it."""

    known: dict[str, Status] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """What their keys hold, where somebody else wrote them, otherwise than the tracker does."""
    without: dict[str, Corrupt | None] = field(default_factory=dict)
    """Those that have no status, or something else in its place."""


class Effects(Struct):
    """What a batch does to the statuses of one kind, by id."""

    after: dict[str, Status] = field(default_factory=dict)
    """The statuses that changed, as they are after the batch."""
    before: list[Status | None] = field(default_factory=list)
    """What each of them was before it, in the same order; None where there was none."""
    texts: dict[str, str] = field(default_factory=dict)
    """What the keys of some hold before it, where that is not how the tracker writes a status."""
    loaded: list[str] = field(default_factory=list)
    """The ids of statuses that were loaded for the batch."""


class StatusCache:
    """The statuses of live entities, so that each is loaded once.

    It keeps at most `capacity` of each kind, and none in a terminal phase, for little is heard of
    those. Those of a batch are kept until it is committed; until then the server may hold older
    ones.
    """

    def __init__(self, lifecycles: Lifecycles, capacity: int) -> None:
        self._lifecycles = lifecycles
        self._capacity = capacity
        self._kinds = {kind: Statuses() for kind in lifecycles}

    def of(self, kind: Kind) -> Statuses:
        """Return what is known of the entities of one kind."""
        return self._kinds[kind]

    def clear(self) -> None:
        """Forget everything: what the keys hold may be something else."""
        self._kinds = {kind: Statuses() for kind in self._lifecycles}

    def forget_missing(self) -> None:
        """Forget who has no status: others may give an entity one at any time."""
        for statuses in self._kinds.values():
            statuses.without = {}

    def add(self, loaded: Mapping[Kind, Statuses]) -> None:
        """Take in statuses that were loaded."""
        for kind, found in loaded.items():
            statuses = self._kinds[kind]
            statuses.known.update(found.known)
            statuses.texts.update(found.texts)
            statuses.without.update(found.without)

    def advance(self, effects: Mapping[Kind, Effects]) -> None:
        """Note in a batch's effects what was before them, and keep what is after them.

        The next batch is folded before this one is committed, and begins where it ends.
        """
        for kind, own in effects.items():
            statuses = self._kinds[kind]
            own.before = list(map(statuses.known.get, own.after))
            own.texts = {
                each: statuses.texts.pop(each) for each in statuses.texts.keys() & own.after
            }
            statuses.known.update(own.after)

    def evict(self, committed: Mapping[Kind, Effects], current: Mapping[Kind, Effects]) -> None:
        """Let go, after a commit, of what is not worth keeping.

        What the current batch changed, it is to compare with what it was.
        """
        for kind, lifecycle in self._lifecycles.items():
            statuses, effects = self._kinds[kind], committed[kind]
            known, terminal = statuses.known, lifecycle.terminal
            ended = {each for each, status in effects.after.items() if status.phase in terminal}
            ended.update(
                each for each in effects.loaded if each in known and known[each].phase in terminal
            )
            ended.update(islice(known, max(len(known) - self._capacity, 0)))
            for entity_id in ended - current[kind].after.keys():
                del known[entity_id]
                statuses.texts.pop(entity_id, None)
