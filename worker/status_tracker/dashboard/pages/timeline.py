"""The changes of an entity, with how long each phase lasted."""

from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

from status_tracker.models import Change


class Spell(Struct, frozen=True):
    """One stay in a phase."""

    change: Change
    """How it began."""
    lasted: float | None
    """Milliseconds; None for the one that goes on."""
    share: float
    """Of the longest one, in percent."""


def spells(history: Sequence[Change]) -> list[Spell]:
    """Return the stays, the newest first, as the history has them.

    Clocks of producers may disagree: what would have lasted less than nothing lasted nothing.
    """
    lasted = [max(0.0, later.updated_at - change.updated_at) for later, change in pairwise(history)]
    longest = max(lasted, default=0) or 1
    return [
        Spell(change, ms, 0 if ms is None else 100 * ms / longest)
        for change, ms in zip(history, [None, *lasted], strict=False)
    ]
