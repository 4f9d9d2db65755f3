"""The port on which a worker serves its metrics and answers probes, from a thread of its own.

So a loop that is stuck is found, and who asks slowly holds up nobody.
"""

import logging
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from socketserver import ThreadingTCPServer
from typing import Any

from prometheus_client import CollectorRegistry, MetricsHandler, ProcessCollector

from status_tracker.errors import ConfigError
from status_tracker.monitoring.metrics import WorkerCollector
from status_tracker.monitoring.probes import PROBES, Answer
from status_tracker.monitoring.watcher import Watcher

log: logging.Logger = logging.getLogger(__name__)

SLOWEST = 10
"""Seconds that somebody may take to ask."""

POLL = 0.1
"""Seconds until the thread notices that it is to end."""

_NOT_FOUND = Answer(404, f"there are /metrics, {', '.join(PROBES)}\n")


class _Handler(MetricsHandler):
    """Answers one request; a class of its own for each endpoint knows its watcher."""

    watcher: Watcher
    timeout = SLOWEST
    server_version = "status-tracker"
    sys_version = ""

    def do_GET(self) -> None:  # noqa: N802
        """Answer a probe, or serve the metrics."""
        if self._path == "/metrics":
            super().do_GET()
            return
        self.wfile.write(self._begin())

    def do_HEAD(self) -> None:  # noqa: N802
        """Answer a load balancer that only wants to know how it is."""
        if self._path == "/metrics":
            self.send_response(HTTPStatus.OK)
            self.end_headers()
            return
        self._begin()

    @property
    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _begin(self) -> bytes:
        """Send the head of an answer to a probe; return its body."""
        probe = PROBES.get(self._path)
        answer = probe(self.watcher) if probe else _NOT_FOUND
        body = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return body


class _Server(ThreadingTCPServer):
    # Not `http.server`'s: that one looks its own name up, which may take long without DNS.
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what is a bug; that somebody went away while he was answered is none."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("a request for metrics failed: %r", error, extra={"event": "request_failed"})


@contextmanager
def serving(watcher: Watcher, *, host: str, port: int) -> Iterator[None]:
    """Serve within a `with` block; raises `ConfigError` where nobody can listen there."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(watcher))
    ProcessCollector(registry=registry)
    handler = type("Handler", (_Handler,), {"watcher": watcher, "registry": registry})
    try:
        [family, _, _, _, address], *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        server = type("Server", (_Server,), {"address_family": family})(address, handler)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"metrics_port: cannot listen on {host}, port {port}: {why}") from None
    thread = threading.Thread(
        target=server.serve_forever, args=(POLL,), name="metrics", daemon=True
    )
    thread.start()
    log.info(
        "metrics and probes are on port %d of %s", port, host, extra={"event": "metrics_served"}
    )
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
