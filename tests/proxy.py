"""A proxy on loopback between a server and its clients, for faults of the way between them."""

import socket
import threading
import time
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Self

from tests.servers import Server

CHUNK = 65_536


class Link:
    """What all connections share in one direction."""

    def __init__(self) -> None:
        self.rate = float("inf")
        """Bytes per second."""
        self._free = 0.0
        self._lock = threading.Lock()

    def carry(self, size: int) -> None:
        """Take as long as so many bytes take after those that came before."""
        with self._lock:
            now = time.monotonic()
            self._free = max(now, self._free) + size / self.rate
            wait = self._free - now
        time.sleep(wait)


class Proxy(ThreadingTCPServer):
    """Passes on what clients and the server say, until a test asks for a fault."""

    request_queue_size = 128

    def __init__(self, behind: Server) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.url = behind.for_operator(f"redis://127.0.0.1:{self.server_address[1]}/0")
        self.behind = behind
        self.swallowed = 0
        self.flows = threading.Event()
        self.flows.set()
        self.up = Link()
        self.down = Link()
        self._wanted = b""
        self._ended = False
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()
        self._accepting = threading.Thread(target=self.serve_forever, args=(0.02,))

    def swallow_reply_to(self, part: bytes) -> None:
        """Lose the reply to the next command that has these bytes, and its connection with it.

        By then the server has done what the command says, and `swallowed` is one more. A reply
        that is an error arrives, and the next such command is awaited.
        """
        with self._lock:
            self._wanted = part

    def cut(self) -> None:
        """Drop every connection."""
        with self._lock:
            for connection in self._connections:
                connection.drop()

    def freeze(self) -> None:
        """Pass nothing on, in either direction; connections stay open, and new ones are taken."""
        self.flows.clear()

    def thaw(self) -> None:
        """Pass on what was held back, and what comes from now."""
        self.flows.set()

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._accepting.join()
        with self._lock:
            self._ended = True
        self.cut()
        self.thaw()
        self.server_close()

    def add(self, connection: "_Connection") -> None:
        """Note a connection that may be cut, unless all are at their end."""
        with self._lock:
            self._connections.add(connection)
            if self._ended:
                connection.drop()

    def remove(self, connection: "_Connection") -> None:
        """Forget a connection whose sockets are about to be closed."""
        with self._lock:
            self._connections.remove(connection)

    def take_wanted(self, said: bytes, new: int) -> bytes:
        """Return what is to be looked for, once, if it ends in the last `new` bytes said."""
        with self._lock:
            wanted = self._wanted
            if not wanted or said.find(wanted, max(0, len(said) - new - len(wanted) + 1)) < 0:
                return b""
            self._wanted = b""
            return wanted


class _Connection(BaseRequestHandler):
    """One client's connection, and one to the server that is only for it."""

    request: socket.socket
    server: Proxy

    def handle(self) -> None:
        """Pass on what both sides say, in two threads: each may have to wait for its reader."""
        self._swallows = b""
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self.server.behind.port)) as self._behind,
        ):
            for end in (self.request, self._behind):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.server.add(self)
            replies = threading.Thread(target=self._pass_replies)
            replies.start()
            self._pass_commands()
            replies.join()
            self.server.remove(self)

    def drop(self) -> None:
        """End it for both sides."""
        for end in (self.request, self._behind):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pass_commands(self) -> None:
        said = b""
        with suppress(OSError):
            while chunk := self.request.recv(CHUNK):
                self.server.flows.wait()
                self.server.up.carry(len(chunk))
                # What is looked for may have begun in the chunk before.
                said = said[-CHUNK:] + chunk
                self._swallows = self._swallows or self.server.take_wanted(said, len(chunk))
                self._behind.sendall(chunk)
        self.drop()

    def _pass_replies(self) -> None:
        with suppress(OSError):
            while chunk := self._behind.recv(CHUNK):
                self.server.flows.wait()
                self.server.down.carry(len(chunk))
                if self._swallows and chunk.startswith(b"-"):
                    self.server.swallow_reply_to(self._swallows)
                    self._swallows = b""
                elif self._swallows:
                    self._finish()
                    break
                self.request.sendall(chunk)
        self.drop()

    def _finish(self) -> None:
        """Let the server do all that it was sent, of which this may have been the first reply."""
        self._behind.shutdown(socket.SHUT_WR)
        while self._behind.recv(CHUNK):
            pass
        self.server.swallowed += 1
