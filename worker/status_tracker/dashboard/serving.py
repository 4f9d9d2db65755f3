"""Serving the application by uvicorn until it is told to stop."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from status_tracker.cancellation import cancelled, started
from status_tracker.dashboard.deployment import Backing
from status_tracker.errors import ConfigError

BACKLOG = 2048
"""Connections that wait to be taken."""

STOPS_WITHIN = 1
"""Seconds for requests that are under way."""


class _Server(uvicorn.Server):
    """A server that leaves signals to us: its own wait knows nothing of streams."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that waits at an address; raises `ConfigError` where it cannot."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        own = socket.socket(family, kind, number)
        try:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            own.bind(address)
            own.listen(BACKLOG)
        except OSError:
            own.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"{host}:{port}: {error.strerror}; choose another --host or --port"
        ) from None
    return own


async def serve(app: Starlette, own: socket.socket, stop: asyncio.Event) -> None:
    """Serve until told to stop; streams end at once, and others within a second."""
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="warning",
        proxy_headers=False,  # or anybody on this machine could say where it comes from
        server_header=False,
        timeout_graceful_shutdown=STOPS_WITHIN,
    )
    server = _Server(config)
    backing: Backing = app.state.backing

    # Whoever cancels it waits, too, until connections are closed.
    serving = started(server.serve(sockets=[own]), "status-tracker dashboard server")
    stopping = started(stop.wait(), "status-tracker dashboard stop")
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        backing.stop.set()
        server.should_exit = True
        await serving
        await cancelled([stopping])


def address_of(own: socket.socket) -> tuple[str, int]:
    """Return where a socket listens, as a URL has it: the host's address, and the port."""
    address, port = own.getsockname()[:2]
    return f"[{address}]" if ":" in address else address, port
