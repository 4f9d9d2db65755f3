"""How long is waited before the next try while the server cannot be used, and what is logged."""

import asyncio
import logging
import random
import time
from collections import Counter

from status_tracker.connection.client import UNREACHABLE

log: logging.Logger = logging.getLogger(__name__)

FIRST_DELAY = 0.1
"""Seconds before the second try: most outages are a restart."""

LONGEST_DELAY = 3.0
"""Seconds between later tries, so that a fleet does not fall upon a server that just came back."""


class Backoff:
    """Says once when the server cannot be used, and once when it can again.

    Partitions meet the same trouble at the same time: the first one's words stand for all.
    """

    def __init__(self, server: str, *, first_delay: float = FIRST_DELAY) -> None:
        self._server = server
        self._first_delay = first_delay
        self._troubles: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self.errors: Counter[str] = Counter()
        """How often it could not be used, by the class of the error."""

    @property
    def troubles(self) -> list[str]:
        """What is wrong now, each once: ``redis://…: unreachable``."""
        found = dict.fromkeys(list(self._troubles.values()))
        return [f"{self._server}: {trouble}" for trouble in found]

    def failed(self, who: str, error: BaseException) -> None:
        """Say what is wrong, unless it was said."""
        trouble = "unreachable" if isinstance(error, UNREACHABLE) else str(error)
        if trouble not in self._troubles.values():
            self._since[trouble] = time.monotonic()
            log.warning(
                "%s: %s; trying again until it works",
                self._server,
                error,
                extra={"event": "server_unavailable", "error": type(error).__name__},
            )
        self._troubles[who] = trouble
        self.errors[type(error).__name__] += 1
        current = self._troubles.values()
        self._since = {each: at for each, at in self._since.items() if each in current}
        self._failures[who] = self._failures.get(who, 0) + 1

    async def wait(self, who: str, error: BaseException, stop: asyncio.Event) -> None:
        """Say what is wrong, unless it was said, and wait before the next try, or for the stop."""
        if stop.is_set():
            return
        self.failed(who, error)
        # Half of it by chance, so that not everybody comes at the same time. The limit on the
        # exponent keeps it from overflowing after 50 minutes, as redis-py's own backoff does.
        longest = min(LONGEST_DELAY, self._first_delay * 2 ** min(self._failures[who], 10))
        delay = random.uniform(longest / 2, longest)
        try:
            await asyncio.wait_for(stop.wait(), delay)
        except TimeoutError:
            return

    def succeeded(self, who: str) -> None:
        """Note that all is well for one who waited."""
        if who not in self._failures:
            return
        trouble = self.forget(who)
        if trouble is not None and trouble not in self._troubles.values():
            seconds = time.monotonic() - self._since.pop(trouble)
            log.warning(
                "%s: works again after %.1f s",
                self._server,
                seconds,
                extra={"event": "server_available", "seconds": round(seconds, 1)},
            )

    def forget(self, who: str) -> str | None:
        """Note that one waits no more, whether all is well or not; return what its trouble was."""
        self._failures.pop(who, None)
        return self._troubles.pop(who, None)
