"""How much is read and committed at once: less after a failure, more again while all is quick."""

from status_tracker.connection.client import ANSWER_WITHIN

QUICK = ANSWER_WITHIN / 4
"""Seconds up to which a command is quick enough that twice as much could be asked for."""

SLOW = ANSWER_WITHIN / 2
"""Seconds from which half as much is asked for, before it is too late for the answer."""

SMALLEST = 64 * 1024
"""Bytes that are never gone under: one update may have that many, and is to be taken somehow."""


FIRST_PATIENCE = 8
LONGEST_PATIENCE = 1024
"""Commits until more is tried after a failure: twice as many after each, for what failed at once,
and not by being slow, will likely fail again."""


class Limits:
    """The limits of a batch, which fit themselves to the link and the server.

    What cannot pass in time fails the next time, too, unless it is smaller.
    """

    def __init__(self, *, entries: int, size: int) -> None:
        self._most_entries = entries
        self._most_size = size
        self._reads_are_quick = True
        self._patience = FIRST_PATIENCE
        # Commits that are still to succeed before the limits grow.
        self._waits = 0
        self.entries: int = entries
        self.size: int = size
        """In bytes."""

    def shrink(self) -> None:
        """Halve the limits, after a failure or before the next one."""
        self.entries = max(self.entries // 2, 1)
        self.size = max(self.size // 2, min(SMALLEST, self._most_size))
        self._waits = self._patience
        self._patience = min(self._patience * 2, LONGEST_PATIENCE)

    def read_took(self, seconds: float) -> None:
        """Note how long it took until an answer with entries or statuses was there."""
        self._reads_are_quick = seconds < QUICK
        if seconds > SLOW:
            self.shrink()

    def commit_took(self, seconds: float) -> None:
        """Note how long a commit took that was answered; only here the limits grow again."""
        self._waits -= 1
        if seconds > SLOW:
            self.shrink()
        elif seconds < QUICK and self._reads_are_quick and self._waits < 0:
            self._grow()

    def _grow(self) -> None:
        self.entries = min(self.entries * 2, self._most_entries)
        self.size = min(self.size * 2, self._most_size)
        if (self.entries, self.size) == (self._most_entries, self._most_size):
            self._patience = FIRST_PATIENCE
