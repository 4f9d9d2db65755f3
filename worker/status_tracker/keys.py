"""Every key name, and which partition an entity belongs to. Nobody else spells a key."""

from typing import Literal
from zlib import crc32

from msgspec import Struct

from status_tracker.models import PHASES, Kind

Layout = Literal["single", "cluster"]
"""`cluster` tags every key that a commit touches with its partition, so that they share a slot."""

GROUP = "tracker"
"""The consumer group that is kept in step with the cursor, for those who watch lag."""

# Braces would move the hash tag; whitespace and control characters cannot be typed.
PREFIX_PATTERN = r"^[^\s\x00-\x1f\x7f-\x9f{}]+\Z"


def partition_of(entity_id: str, partitions: int) -> int:
    """Return the number of the partition that an entity's updates go through."""
    return crc32(entity_id.encode()) % partitions


class PartitionKeys(Struct, frozen=True):
    """The keys that one partition reads and writes."""

    events: str
    partition: str
    changes: str
    rejected: str
    counts: dict[Kind, str]
    phases: dict[Kind, dict[str, str]]
    """Sets of ids: kind → phase → key."""
    statuses: dict[Kind, str]
    """Kind → what stands before the id in the key of a status."""

    def status(self, kind: Kind, entity_id: str) -> str:
        """Return the key of an entity's status."""
        return self.statuses[kind] + entity_id


class Keys:
    """The keys of one deployment."""

    def __init__(self, prefix: str, layout: Layout) -> None:
        self.prefix = prefix
        self.layout = layout
        self.meta = f"{prefix}:meta"
        self.workers = f"{prefix}:workers"

    def events(self, number: int) -> str:
        """Return the key of a partition's stream of updates."""
        return f"{self.prefix}:events:{{{number}}}"

    def lease(self, number: int) -> str:
        """Return the key that names the worker which owns a partition."""
        return f"{self.prefix}:lease:{{{number}}}"

    def partition(self, number: int) -> PartitionKeys:
        """Return the keys of one partition."""
        prefix = self.prefix
        tag = f":{{{number}}}" if self.layout == "cluster" else ""
        return PartitionKeys(
            events=self.events(number),
            partition=f"{prefix}:partition:{{{number}}}",
            changes=f"{prefix}:changes{tag}",
            rejected=f"{prefix}:rejected{tag}",
            counts={kind: f"{prefix}:counts{tag}:{kind}" for kind in PHASES},
            phases={
                kind: {phase: f"{prefix}:phase{tag}:{kind}:{phase}" for phase in phases}
                for kind, phases in PHASES.items()
            },
            statuses={kind: f"{prefix}:{kind}{tag}:" for kind in PHASES},
        )
