"""The time of a test: the system's, and what the test let pass besides."""

import time
from collections.abc import Callable

from status_tracker.client.updates import Clock
from status_tracker.errors import ConfigError
from status_tracker.units import duration


class ServerClock(Clock):
    """The clock of a server in memory, and of who emits to it: the system's, or ahead of it."""

    def __init__(self) -> None:
        super().__init__(lambda: time.time_ns() + self.ahead * 1_000_000)
        self.ahead: int = 0
        """By how many milliseconds a test has moved it on."""


class KitClock:
    """The time of a kit."""

    def __init__(self, clock: Clock, keep_up: Callable[[], None]) -> None:
        """`keep_up` folds what was emitted, and does what is due by the time."""
        self._clock = clock
        self._keep_up = keep_up

    def now(self) -> int:
        """Return the time, in milliseconds since the epoch."""
        return self._clock.now()

    def advance(self, by: str | int) -> None:
        """Let time pass, as ``"5m"`` or in milliseconds, and do all that is due then.

        What was emitted before is folded before. Raises ValueError for what is no duration, and
        `ConfigError` where the server's clock is not the kit's.
        """
        passed = duration(by) if isinstance(by, str) else by
        if passed < 0:
            raise ValueError(f"{passed}: time does not go back")
        if not isinstance(self._clock, ServerClock):
            raise ConfigError(
                "clock: a real server's cannot be moved on: run this test in memory, without "
                "--status-tracker-server"
            )
        self._keep_up()  # from here on at the latest, silence counts
        self._clock.ahead += passed
        self._keep_up()
