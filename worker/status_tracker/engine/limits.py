"""How much is read and committed at once: less after a failure, more again while all is quick."""

from status_tracker.connection.client import ANSWER_WITHIN

QUICK = ANSWER_WITHIN / 4
"""Seconds up to which a command is quick enough that twice as much could be asked for."""

SLOW = ANSWER_WITHIN / 2
"""Seconds from which half as much is asked for, before it is too late for the answer."""

SMALLEST = 64 * 1024
"""Bytes that are never gone under: one update may have that many, and is to be taken somehow."""


class Limits:
    """The limits of a batch, which fit themselves to the link and the server.

    What cannot pass in time fails the next time, too, unless it is smaller.
    """

    def __init__(self, *, entries: int, size: int) -> None:
        self._most_entries = entries
        self._most_size = size
        self._reads_are_quick = True
        self.entries = entries
        self.size = size
        """In bytes."""

    def shrink(self) -> None:
        """Halve the limits, after a failure or before the next one."""
        self.entries = max(self.entries // 2, 1)
        self.size = max(self.size // 2, min(SMALLEST, self._most_size))

    def read_took(self, seconds: float) -> None:
        """Note how long it took until an answer with entries or statuses was there."""
        self._reads_are_quick = seconds < QUICK
        if seconds > SLOW:
            self.shrink()

    def commit_took(self, seconds: float) -> None:
        """Note how long a commit took that was answered; only here the limits grow again."""
        if seconds > SLOW:
            self.shrink()
        elif seconds < QUICK and self._reads_are_quick:
            self.entries = min(self.entries * 2, self._most_entries)
            self.size = min(self.size * 2, self._most_size)
