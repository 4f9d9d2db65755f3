"""What the log hears while the server cannot be used, and how long is waited."""

import asyncio
import logging
import time

from redis.backoff import ExponentialWithJitterBackoff

from status_tracker.connection.url import UNREACHABLE

log = logging.getLogger(__name__)

# Seconds between tries while the server cannot be used: the first soon, for most outages are a
# restart; the last few, so that a fleet does not fall upon a server that just came back.
_backoff = ExponentialWithJitterBackoff(base=0.1, cap=3.0)


class Outage:
    """Says once when the server cannot be used, and once when it can again.

    Partitions meet the same trouble at the same time: the first one's words stand for all.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._troubles: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def note(self, who: str, error: BaseException) -> None:
        """Say what is wrong, unless it was said."""
        trouble = "unreachable" if isinstance(error, UNREACHABLE) else str(error)
        if trouble not in self._troubles.values():
            self._since[trouble] = time.monotonic()
            log.warning("%s: %s; trying again until it works", self._server, error)
        self._troubles[who] = trouble
        current = self._troubles.values()
        self._since = {each: at for each, at in self._since.items() if each in current}
        self._failures[who] = self._failures.get(who, 0) + 1

    async def wait_out(self, who: str, error: BaseException, stop: asyncio.Event) -> None:
        """Say what is wrong, unless it was said, and wait before the next try, or for the stop."""
        if stop.is_set():
            return
        self.note(who, error)
        delay = _backoff.compute(self._failures[who])
        try:
            await asyncio.wait_for(stop.wait(), delay)
        except TimeoutError:
            return

    def over(self, who: str) -> None:
        """Note that all is well for one who waited."""
        trouble = self.forget(who)
        if trouble is not None and trouble not in self._troubles.values():
            seconds = time.monotonic() - self._since.pop(trouble)
            log.warning("%s: works again after %.1f s", self._server, seconds)

    def forget(self, who: str) -> str | None:
        """Note that one waits no more, whether all is well or not; return what its trouble was."""
        self._failures.pop(who, None)
        return self._troubles.pop(who, None)
