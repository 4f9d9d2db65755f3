"""A client of the deployment's server for as long as a command needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from status_tracker.connection.client import UNAVAILABLE, Client
from status_tracker.connection.url import reach, without_secrets
from status_tracker.errors import UnavailableError
from status_tracker.settings import Settings


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Client]:
    """Connect; raises `UnavailableError` where the server cannot be used, then or later."""
    try:
        client = await reach(settings.redis_url)
        try:
            yield client
        finally:
            await client.close()
    except UNAVAILABLE as error:
        raise UnavailableError(f"{without_secrets(settings.redis_url)}: {error}") from None
