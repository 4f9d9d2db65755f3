"""SIGINT, SIGTERM and the end of the terminal: the wish to stop."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StopSignals:
    """Signals to stop, also those that come before anybody can act on them."""

    def __init__(self) -> None:
        self._received = False
        self._notify: Callable[[], None] = lambda: None

    def receive(self, *_: object) -> None:
        """Note a signal: an exception from here may come up inside an import, which swallows it."""
        self._received = True
        self._notify()

    def call(self, stop: Callable[[], object]) -> None:
        """Have something called in the running loop when a signal comes; now if one has come."""
        loop = asyncio.get_running_loop()

        def notify() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(stop)

        self._notify = notify
        if self._received:
            notify()


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Take SIGINT, SIGTERM and, unless it is ignored (`nohup`), SIGHUP for the wish to stop."""
    signals = StopSignals()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, signals.receive) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
