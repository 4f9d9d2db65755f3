"""The demo in a browser, where the dashboard is installed."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from status_tracker.errors import ConfigError
from status_tracker.settings import Settings

try:
    from status_tracker.dashboard import create_app
    from status_tracker.dashboard.serving import address_of, listen, serve
except ImportError:
    IS_INSTALLED = False
else:
    IS_INSTALLED = True

PORT = 8380
"""That of the command `dashboard`; a free one where it is taken."""


class Places(Struct, frozen=True):
    """Where the demo can be looked at."""

    redis: str
    """The server's URL."""
    pages: str | None
    """The dashboard's; None where it is not installed."""


@contextmanager
def listening() -> Iterator[socket.socket | None]:
    """Wait at a port for browsers; None where the dashboard is not installed."""
    if not IS_INSTALLED:
        yield None
        return
    try:
        own = listen("127.0.0.1", PORT)
    except ConfigError:
        own = listen("127.0.0.1", 0)
    with own:
        yield own


def places(url: str, own: socket.socket | None) -> Places:
    """Return where the demo can be looked at."""
    if own is None:
        return Places(url, None)
    name, port = address_of(own)
    return Places(url, f"http://{name}:{port}/")


async def show_pages(own: socket.socket | None, settings: Settings, stop: asyncio.Event) -> None:
    """Serve the dashboard until told to stop."""
    if own is not None:
        hosts = ("localhost", "127.0.0.1")
        await serve(create_app(settings, hosts=hosts), own, stop)
