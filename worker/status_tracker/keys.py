"""Every key name, and which partition an entity belongs to. Nobody else spells a key."""

import re
from collections.abc import Collection
from typing import Literal, NamedTuple
from zlib import crc32

Layout = Literal["single", "cluster"]
"""`cluster` tags every key that a commit touches with its partition, so that they share a slot."""

GROUP = "tracker"
"""The consumer group that is kept in step with the cursor, for those who watch lag."""

# Braces would move the hash tag; whitespace and control characters cannot be typed.
PREFIX_PATTERN = r"^[^\s\x00-\x1f\x7f-\x9f{}]+\Z"

NAME_PATTERN = r"[a-z][a-z0-9_]{0,31}"
"""What a kind or a phase may be called."""

PARTS = frozenset(
    [
        *("events", "partition", "lease", "phase", "counts", "changes", "rejected"),
        *("meta", "workers", "stalled", "history"),
    ]
)
"""What stands in a key where the kind stands in a status's: no kind can be called so."""


def partition_of(entity_id: str, partitions: int) -> int:
    """Return the number of the partition that an entity's updates go through."""
    return crc32(entity_id.encode()) % partitions


class PartitionKeys:
    """The keys that one partition reads and writes."""

    def __init__(self, prefix: str, layout: Layout, number: int) -> None:
        self._prefix = prefix
        self._tag = f":{{{number}}}" if layout == "cluster" else ""
        self.tagged: int | None = number if layout == "cluster" else None
        """The partition whose tag these keys carry; None where they carry none."""
        self.events: str = f"{prefix}:events:{{{number}}}"
        self.partition: str = f"{prefix}:partition:{{{number}}}"
        self.changes: str = f"{prefix}:changes{self._tag}"
        self.rejected: str = f"{prefix}:rejected{self._tag}"

    def status(self, kind: str, entity_id: str) -> str:
        """Return the key of an entity's status."""
        return f"{self._prefix}:{kind}{self._tag}:{entity_id}"

    def phase(self, kind: str, phase: str) -> str:
        """Return the key of the set of ids in a phase."""
        return f"{self._prefix}:phase{self._tag}:{kind}:{phase}"

    def counts(self, kind: str) -> str:
        """Return the key of the numbers of entities in each phase."""
        return f"{self._prefix}:counts{self._tag}:{kind}"

    def stalled(self, kind: str) -> str:
        """Return the key of the set of ids without an update for longer than their limit."""
        return f"{self._prefix}:stalled{self._tag}:{kind}"

    def history(self, kind: str, entity_id: str) -> str:
        """Return the key of an entity's last changes."""
        return f"{self._prefix}:history{self._tag}:{kind}:{entity_id}"


class KeyName(NamedTuple):
    """What the name of a key says that is an entity's, or the set of ids in a phase."""

    what: Literal["status", "history", "phase"]
    number: int
    """The partition in its tag; 0 where the layout has none."""
    kind: str
    name: str
    """The entity's id, or the phase."""


class Keys:
    """The keys of one deployment."""

    def __init__(self, prefix: str, layout: Layout) -> None:
        self.prefix = prefix
        self.layout = layout
        tag = r":\{(\d{1,4})\}" if layout == "cluster" else "()"
        begin = re.escape(prefix)
        self._parts = re.compile(
            rf"{begin}:(phase|history){tag}:({NAME_PATTERN}):(.*)", re.DOTALL
        ).fullmatch
        self._status = re.compile(rf"{begin}:({NAME_PATTERN}){tag}:(.*)", re.DOTALL).fullmatch
        self.meta: str = f"{prefix}:meta"
        self.workers: str = f"{prefix}:workers"

    def events(self, number: int) -> str:
        """Return the key of a partition's stream of updates."""
        return self.partition(number).events

    def lease(self, number: int) -> str:
        """Return the key that names the worker which owns a partition."""
        return f"{self.prefix}:lease:{{{number}}}"

    def partition(self, number: int) -> PartitionKeys:
        """Return the keys of one partition."""
        return PartitionKeys(self.prefix, self.layout, number)

    def has(self, key: str, *, partitions: int, kinds: Collection[str]) -> bool:
        """Tell whether a key that begins with the prefix is one that a deployment has."""
        part, _, rest = key.removeprefix(f"{self.prefix}:").partition(":")
        tags = [f"{{{number}}}" for number in range(partitions)]
        if part in ("meta", "workers"):
            return not rest
        if part in ("events", "partition", "lease"):
            return rest in tags
        if "-" in part:
            return True  # of a later release: no kind has a hyphen
        if self.layout == "cluster":
            tag, _, rest = rest.partition(":")
            if tag not in tags:
                return False
        kind, _, last = rest.partition(":")
        if part in ("changes", "rejected"):
            return not rest
        if part in ("counts", "stalled"):
            return rest in kinds
        if part in ("phase", "history"):
            return kind in kinds and last != ""
        return part in kinds and rest != "" and not {"{", "}"} & set(rest)

    def named(self, key: str) -> KeyName | None:
        """Return what a key's name says; None of those that are nobody's and no phase's."""
        if found := self._parts(key):
            part, number, kind, name = found.groups()
            what: Literal["phase", "history"] = "phase" if part == "phase" else "history"
            return KeyName(what, int(number or 0), kind, name)
        if (found := self._status(key)) and found[1] not in PARTS:
            return KeyName("status", int(found[2] or 0), found[1], found[3])
        return None
