"""A few entries of each read, which say how late all are: to look at each would cost too much."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from status_tracker.decode import Entry
from status_tracker.models import Rejection, Update

SAMPLES = 4
"""Of one read at most. A few, evenly spread, stand for all."""


class Sample(NamedTuple):
    """An entry, and how many of its neighbours it stands for."""

    received: int
    """When the stream took it, in ms since the epoch."""
    stands_for: int
    kind: str = ""
    updated_at: float | None = None
    """None where it is no update."""


def sampled(
    entries: Sequence[Entry],
    decoded: Sequence[Update | Rejection],
    kinds: Mapping[type[Update], str],
) -> Iterator[Sample]:
    """Yield entries of one read that stand for all of them."""
    step = -(-len(entries) // SAMPLES)
    # Not the same place in every read, where the same partition's entry may always stand.
    moved = received_at(entries[0][0])
    for begin in range(0, len(entries), step):
        stands_for = min(step, len(entries) - begin)
        place = begin + moved % stands_for
        received, update = received_at(entries[place][0]), decoded[place]
        if isinstance(update, Rejection):
            yield Sample(received, stands_for)
        else:
            yield Sample(received, stands_for, kinds[type(update)], update.updated_at)


def received_at(entry_id: bytes) -> int:
    """Return when the stream took an entry, in milliseconds since the epoch."""
    return int(entry_id.partition(b"-")[0])
