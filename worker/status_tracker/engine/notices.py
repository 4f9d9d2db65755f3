"""What comes often is logged seldom: at once, then once a minute, with how often it came."""

import time
from collections import Counter
from collections.abc import Iterable

EVERY = 60.0
"""Seconds."""


class Notice:
    """Counts what comes, by name, until it is time to say so."""

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._counts: Counter[str] = Counter()
        self._next = float("-inf")

    def add(self, names: Iterable[str]) -> None:
        """Count what came."""
        self._counts.update(names)

    @property
    def is_due(self) -> bool:
        """Whether something came, and it is time to say so."""
        return bool(self._counts) and time.monotonic() >= self._next

    def take(self) -> Counter[str]:
        """Return the counts since the last time where it is time to say so; else none."""
        if not self.is_due:
            return Counter()
        self._next = time.monotonic() + self._every
        counts, self._counts = self._counts, Counter()
        return counts
