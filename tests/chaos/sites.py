"""Where the keys of a system are: on one server or on three masters, and the ways there."""

import signal
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from status_tracker.keys import Keys

from tests.clusters import Node, ServerCluster
from tests.proxy import Proxy
from tests.servers import Redis, Running, Server, wait_until

Layout = Literal["single", "cluster", "masters"]
"""The layouts of keys on one server, and `cluster` where it belongs: on a cluster of masters."""

LAYOUTS: Sequence[Layout] = ("single", "cluster", "masters")

PARTITIONS = 4


class Way(Proxy):
    """The way between workers and a server."""

    def __init__(self, behind: Server, commit: bytes) -> None:
        super().__init__(behind)
        self._commit = commit
        self._freezes = False

    @property
    def frozen(self) -> bool:
        """Whether nothing gets through."""
        return not self.flows.is_set()

    def freeze_at_commit(self) -> None:
        """Freeze as soon as a commit comes, with the commit on the way."""
        self._freezes = True

    def take_wanted(self, said: bytes, new: int) -> bytes:
        """Look at what is about to be passed on to the server, and hold it back."""
        if self._freezes and self._commit in said[-new - len(self._commit) :]:
            self._freezes = False
            self.freeze()
            self.flows.wait()
        return super().take_wanted(said, new)


class Site(Running):
    """Servers, and the ways to them that workers take."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        changes, *_ = keys.partition(0).changes.partition("{")
        self.commit = f"\r\n{changes}".encode()
        """What a commit has on the wire, whether its script is sent by hash or whole, and nothing
        else has."""
        self.servers: Sequence[Server]
        self.ways: list[Way]
        self._ending = ExitStack()

    def start(self) -> None:
        """Open the ways, and start the servers."""
        for way in self.ways:
            self._ending.enter_context(way)
        self._start_servers()

    def stop(self) -> None:
        """End the servers, and close the ways."""
        for server in self.servers:
            # One in the middle of a fault may not hear of a SIGTERM.
            server.stop(signal.SIGKILL)
        self._ending.close()

    @abstractmethod
    def _start_servers(self) -> None: ...

    @abstractmethod
    def url(self, number: int) -> str:
        """Return the way of the worker with that number."""

    @abstractmethod
    def client(self) -> Redis:
        """Return a client of all keys that goes through no proxy."""

    @abstractmethod
    def server_of(self, number: int) -> Server:
        """Return the server that has a partition, as soon as that is settled."""

    @abstractmethod
    def await_whole(self) -> None:
        """Wait until every server does what it is there for."""


class OneServer(Site):
    """A server, to which each worker has a way of its own."""

    def __init__(self, binary: Path, folder: Path, keys: Keys, workers: int) -> None:
        super().__init__(keys)
        # With `everysec` a write waits for the last one's fsync, and replies do not wait for the
        # write: a kill loses what was answered. With `no` it is the kernel's before the reply.
        options = ("--appendonly", "yes", "--appendfsync", "no")
        self._server = Server(binary, folder / "server", *options)
        self.servers = [self._server]
        self.ways = [Way(self._server, self.commit) for _ in range(workers)]

    def _start_servers(self) -> None:
        self._server.start()

    def url(self, number: int) -> str:
        """Return the way of the worker with that number."""
        return self.ways[number].url

    def client(self) -> Redis:
        """Return a client that goes through no proxy."""
        return self._server.client()

    def server_of(self, number: int) -> Server:
        """Return the server."""
        return self._server

    def await_whole(self) -> None:
        """Return: it is as soon as it is started."""


class Masters(Site):
    """Three masters with a replica each; what talks to a node takes that node's one way."""

    OPTIONS = (
        # Only a failover by hand loses nothing; for a master that was killed, wait.
        *("--cluster-replica-no-failover", "yes"),
        # Longer than a killed one is away, or all would be down until it is trusted again.
        *("--cluster-node-timeout", "5000"),
    )

    def __init__(self, binary: Path, folder: Path, keys: Keys) -> None:
        super().__init__(keys)
        self.cluster = ServerCluster(binary, folder / "cluster", *self.OPTIONS)
        self.servers = self.cluster.nodes
        self.ways = []
        for node in self.cluster.nodes:
            way = Way(node, self.commit)
            node.announce(way.server_address[1])
            self.ways.append(way)

    def _start_servers(self) -> None:
        self.cluster.start()

    def url(self, number: int) -> str:
        """Return the ways to some of the nodes."""
        return self.cluster.seeds

    def client(self) -> Redis:
        """Return a client of the whole cluster that goes through no proxy."""
        return self.cluster.client()

    def server_of(self, number: int) -> Node:
        """Return the master that has a partition, as soon as all nodes agree."""
        return self.cluster.master_of(self.keys.events(number))

    def await_whole(self) -> None:
        """Wait until each master has its replica, and what both have is in their files."""
        self.cluster.await_whole()
        wait_until(self._is_written, within=30.0)

    def _is_written(self) -> bool:
        """Tell whether no node writes its file anew: a replica has none until that is done."""
        states = []
        for node in self.cluster.nodes:
            with node.client() as client:
                states.append(client.info("persistence"))
        return not any(
            state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"] for state in states
        )


def site(layout: Layout, binary: Path, folder: Path, *, workers: int) -> Site:
    """Return the site of a layout."""
    if layout == "masters":
        return Masters(binary, folder, Keys("status", "cluster"))
    return OneServer(binary, folder, Keys("status", layout), workers)
