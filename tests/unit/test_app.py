"""A worker that is told to stop before it has begun."""

import asyncio

from status_tracker.app import run
from status_tracker.settings import load_settings
from status_tracker.signals import StopSignals

from tests.servers import free_port


async def test_a_signal_that_came_early_is_a_stop() -> None:
    """A signal during the imports, or while the embedded server starts, must not be lost."""
    url = f"redis://127.0.0.1:{free_port()}"
    settings = load_settings(environment={}, options={"redis_url": url})
    signals = StopSignals()
    signals.receive()
    async with asyncio.timeout(10):
        await run(settings, signals)
