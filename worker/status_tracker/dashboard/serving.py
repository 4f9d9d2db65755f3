"""Serving the application by uvicorn until a signal to stop comes."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from status_tracker.dashboard.deployment import Backing
from status_tracker.errors import ConfigError
from status_tracker.signals import StopSignals

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


async def serve(app: Starlette, own: socket.socket, signals: StopSignals) -> None:
    """Serve until a signal comes; streams end at once, and others within a second."""
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

    def stop() -> None:
        backing.stop.set()
        server.should_exit = True

    signals.call(stop)
    await server.serve(sockets=[own])
