"""The statuses that a worker keeps in memory between batches, and when it lets them go."""

from collections.abc import Iterable, Mapping
from itertools import islice
from sys import getsizeof

from msgspec import Struct, field

from status_tracker.fold import Corrupt
from status_tracker.models import Status
from status_tracker.rules import Rules

STATUS_BYTES = 500
"""Bytes that a status takes in memory besides its message, with its id and its places in dicts."""


class Statuses(Struct):
    """What is known of the entities of one kind: nothing of those that are nowhere in it."""

    known: dict[str, Status] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """What their keys hold, where somebody else wrote them, otherwise than the tracker does."""
    without: dict[str, Corrupt | None] = field(default_factory=dict)
    """Those that have no status, or something else in its place."""
    message_bytes: int = 0
    """Bytes of memory that the messages of the known take, and the texts."""

    @property
    def size(self) -> int:
        """Bytes of memory that all this takes, about."""
        return STATUS_BYTES * len(self.known) + self.message_bytes


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

    It keeps at most `capacity` of each kind, about `size` bytes in all, and none in a terminal
    phase, for little is heard of those. Those of a batch are kept until it is committed; until then
    the server may hold older ones.
    """

    def __init__(self, rules: Rules, *, capacity: int, size: int) -> None:
        self._capacity = capacity
        self._size = size
        self.restart(rules)

    @property
    def kept(self) -> dict[str, Statuses]:
        """What is known, by kind."""
        return self._kinds

    def of(self, kind: str) -> Statuses:
        """Return what is known of the entities of one kind."""
        return self._kinds[kind]

    def restart(self, rules: Rules) -> None:
        """Forget everything, for what the keys hold may be something else; go by these rules."""
        self._lifecycles = rules.kinds
        self._kinds = {kind: Statuses() for kind in rules.kinds}

    def forget_missing(self) -> None:
        """Forget who has no status: others may give an entity one at any time."""
        for statuses in self._kinds.values():
            if statuses.without:
                statuses.without = {}

    def add(self, loaded: Mapping[str, Statuses]) -> None:
        """Take in statuses that were loaded."""
        for kind, found in loaded.items():
            statuses = self._kinds[kind]
            statuses.known.update(found.known)
            statuses.texts.update(found.texts)
            statuses.without.update(found.without)
            statuses.message_bytes += _messages(found.known.values()) + _sizes(found.texts.values())

    def advance(self, effects: Mapping[str, Effects]) -> None:
        """Note in a batch's effects what was before them, and keep what is after them.

        The next batch is folded before this one is committed, and begins where it ends.
        """
        for kind, own in effects.items():
            statuses = self._kinds[kind]
            own.before = list(map(statuses.known.get, own.after))
            if statuses.texts:
                written = statuses.texts.keys() & own.after
                own.texts = {each: statuses.texts.pop(each) for each in written}
                statuses.message_bytes -= _sizes(own.texts.values())
            statuses.known.update(own.after)
            statuses.message_bytes += _messages(own.after.values()) - _messages(own.before)

    def remove(self, entities: Iterable[tuple[str, str]]) -> None:
        """Let go of entities, by kind and id, that are not there any more."""
        for kind, entity_id in entities:
            statuses = self._kinds.get(kind)
            if statuses is not None and (status := statuses.known.pop(entity_id, None)):
                statuses.message_bytes -= _messages([status])
                statuses.message_bytes -= _sizes(filter(None, [statuses.texts.pop(entity_id, "")]))

    def evict(self, committed: Mapping[str, Effects], current: Mapping[str, Effects]) -> None:
        """Let go, after a commit, of what is not worth keeping.

        What the current batch changed, it is to compare with what it was.
        """
        excess = -self._size
        for statuses in self._kinds.values():
            excess += statuses.size
        for kind, effects in committed.items():
            statuses = self._kinds[kind]
            known, terminal = statuses.known, self._lifecycles[kind].terminal
            ended = {each for each, status in effects.after.items() if status.phase in terminal}
            if effects.loaded:
                loaded = filter(known.__contains__, effects.loaded)
                ended.update(each for each in loaded if known[each].phase in terminal)
            if len(known) > self._capacity:
                ended.update(islice(known, len(known) - self._capacity))
            if excess > 0:
                ended.update(_oldest(statuses, excess))
            if not ended:
                continue
            if kind in current:
                ended -= current[kind].after.keys()
            size = statuses.size
            for entity_id in ended:
                statuses.message_bytes -= _messages([known.pop(entity_id)])
                if entity_id in statuses.texts:
                    statuses.message_bytes -= getsizeof(statuses.texts.pop(entity_id))
            excess -= size - statuses.size


def _oldest(statuses: Statuses, excess: int) -> Iterable[str]:
    """Yield the ids of statuses that have been known for longest, of so many bytes together."""
    for entity_id, status in statuses.known.items():
        if excess <= 0:
            return
        excess -= STATUS_BYTES + _messages([status])
        yield entity_id


def _messages(statuses: Iterable[Status | None]) -> int:
    """Return how many bytes of memory the messages of statuses take."""
    messages = [each.error_message for each in statuses if each and each.error_message]
    return _sizes(messages) if messages else 0


def _sizes(texts: Iterable[str]) -> int:
    return sum(map(getsizeof, texts))
