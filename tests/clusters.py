"""A real cluster on loopback: three masters, each with a replica."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from tests.servers import Redis, Running, Server, free_port, wait_until

MASTERS = 3
SLOTS = 16_384

OPTIONS = [
    *("--cluster-enabled", "yes"),
    # A node counts as lost after so many milliseconds without an answer.
    *("--cluster-node-timeout", "1000"),
    # A replica may take over however long it has been without its master,
    *("--cluster-replica-validity-factor", "0"),
    # and follows no other one than that.
    *("--cluster-allow-replica-migration", "no"),
    *("--repl-diskless-sync-delay", "0"),
    # What was answered outlives a killed process even without fsync, which can hold a node up.
    *("--appendonly", "yes", "--appendfsync", "no"),
]

View = dict[str, dict[str, Any]]
"""What one node takes the nodes of its cluster to be, by their addresses."""


class Node(Server):
    """One node of a cluster."""

    def __init__(self, binary: Path, folder: Path, *options: str) -> None:
        self.bus = free_port()
        options = (*OPTIONS, "--cluster-port", str(self.bus), *options)
        # Which port it announces to TLS clients hangs on `tls-cluster`: TLS between nodes, too.
        super().__init__(binary, folder, *options, tls=False)
        self.address = f"127.0.0.1:{self.port}"

    def announce(self, port: int) -> None:
        """Let it name another port than its own when it starts: that of a proxy before it."""
        self.options = (*self.options, "--cluster-announce-port", str(port))
        self.address = f"127.0.0.1:{port}"

    def cluster(self, *command: object) -> Any:
        """Send it one of the CLUSTER commands."""
        with self.client() as client:
            return client.cluster(*command)

    @property
    def id(self) -> str:
        """The name that the nodes have for it."""
        return str(self.cluster("MYID"))


class ServerCluster(Running):
    """Six nodes: at first the first three are masters, and the others their replicas."""

    def __init__(self, binary: Path, folder: Path, *options: str) -> None:
        self.nodes = [
            Node(binary, folder / f"node-{number}", *options) for number in range(2 * MASTERS)
        ]

    @property
    def url(self) -> str:
        """The URL of one node."""
        return self.nodes[0].for_operator(f"redis://{self.nodes[0].address}/0")

    @property
    def seeds(self) -> str:
        """The URL of several nodes."""
        addresses = ",".join(node.address for node in self.nodes[:MASTERS])
        return self.nodes[0].for_operator(f"redis://{addresses}/0")

    def start(self) -> None:
        """Start the nodes, and wait until they are a cluster."""
        first, *others = self.nodes
        for epoch, node in enumerate(self.nodes, start=1):
            node.start()
            # A node of another cluster may have met it, whose neighbour had this port before.
            node.cluster("RESET", "HARD")
            node.cluster("SET-CONFIG-EPOCH", epoch)
        for number, master in enumerate(self.nodes[:MASTERS]):
            begin, end = (SLOTS * each // MASTERS for each in (number, number + 1))
            master.cluster("ADDSLOTSRANGE", begin, end - 1)
        for node in others:
            node.cluster("MEET", "127.0.0.1", first.port, first.bus)
        # For a moment, a node that is only being met has another id.
        ids = {node.id for node in self.nodes}
        wait_until(lambda: all(_ids_in(view) == ids for view in self._ask("CLUSTER NODES")))
        for master, replica in zip(self.nodes[:MASTERS], self.nodes[MASTERS:], strict=True):
            replica.cluster("REPLICATE", master.id)
        self.await_whole()

    def stop(self) -> None:
        """End every node, at once: a master that is asked to stop may wait for its replica."""
        for node in self.nodes:
            node.stop(signal.SIGKILL)

    def client(self) -> Redis:
        """Return a client of the cluster; in its replies, which are text, any bytes survive.

        It goes to the nodes themselves, whatever they announce.
        """
        ports = {node.address: node.port for node in self.nodes}

        def direct(announced: tuple[str, int]) -> tuple[str, int]:
            host, port = announced
            return host, ports.get(f"{host}:{port}", port)

        return redis.RedisCluster(
            host="127.0.0.1",
            port=self.masters()[0].port,
            **self.nodes[0].admin,
            decode_responses=True,
            encoding_errors="surrogateescape",
            protocol=2,
            address_remap=direct,
        )

    def masters(self) -> list[Node]:
        """Return the nodes that answer and say that they are masters."""
        ports = {info["tcp_port"] for info in self._ask("INFO") if info["role"] == "master"}
        return [node for node in self.nodes if node.port in ports]

    def master_of(self, key: str) -> Node:
        """Return the master of a key's slot, as soon as all nodes that answer name the same."""
        return wait_until(lambda: self._agreed_master(slot_of(key)))

    def replica_of(self, master: Node) -> Node:
        """Return the replica of a master, as soon as that knows of it."""

        def replica() -> Node | None:
            view: View = master.cluster("NODES")
            followers = [node for node in self.nodes if view[node.address]["master_id"] == name]
            return next(iter(followers), None)

        name = master.id
        return wait_until(replica)

    def kill(self, node: Node) -> None:
        """End a node as nothing can prevent; it may be started again."""
        node.stop(signal.SIGKILL)

    def fail_over(self, old: Node) -> None:
        """Let the replica of a master take over by hand: it waits until it has all."""
        replica = self.replica_of(old)

        def took_over() -> bool:
            replica.cluster("FAILOVER")
            with suppress(AssertionError):  # a replica that cannot catch up gives up after 5 s
                wait_until(lambda: replica in self.masters(), within=6.0)
                return True
            return False

        wait_until(took_over, within=20.0)

    def await_failover(self, key: str, old: Node, *, within: float = 30.0) -> Node:
        """Wait until another node is the master of a key's slot and all is well; return it."""

        def new_master() -> Node | None:
            master = self._agreed_master(slot_of(key))
            return master if master is not old and self._is_ok() else None

        return wait_until(new_master, within=within)

    def await_whole(self, *, within: float = 30.0) -> None:
        """Wait until every node answers, all is well, and each master has its replica."""

        def is_whole() -> bool:
            nodes = self._ask("INFO", "replication")
            links = [node.get("master_link_status") for node in nodes]
            return len(nodes) == len(self.nodes) and links.count("up") == MASTERS and self._is_ok()

        wait_until(is_whole, within=within)

    def begin_move(self, key: str, to: Node | None = None) -> "Move":
        """Open a key's slot for a move to another master: one that is named, or the next."""
        source = self.master_of(key)
        masters = self.masters()
        target = to or masters[(masters.index(source) + 1) % len(masters)]
        return Move(self, key, source, target)

    def move_slot(self, key: str, to: Node | None = None) -> Node:
        """Move a key's slot, with all that is in it, to another master; return that."""
        move = self.begin_move(key, to)
        move.end()
        return move.target

    def _ask(self, *command: str) -> list[Any]:
        """Return the answers of the nodes that give one soon."""
        answers = []
        for node in self.nodes:
            with (
                suppress(redis.ConnectionError, redis.TimeoutError, redis.ResponseError),  # -BUSY
                node.client(socket_timeout=1) as client,
            ):
                answers.append(client.execute_command(*command))
        return answers

    def _is_ok(self) -> bool:
        """Tell whether all nodes that answer would serve a client."""
        return all(info["cluster_state"] == "ok" for info in self._ask("CLUSTER INFO"))

    def _agreed_master(self, slot: int) -> Node | None:
        """Return the master of a slot if all nodes that answer name the same one."""
        named = {_master_in(view, slot) for view in self._ask("CLUSTER NODES")}
        return next((node for node in self.nodes if named == {node.address}), None)


class Move:
    """A slot on its way from one master to another, by the same steps that `redis-cli` takes.

    While it lasts, the source sends clients on with ASK for keys that it has not, and refuses with
    TRYAGAIN to work on keys of which some have left. After the end it says MOVED.
    """

    def __init__(self, cluster: ServerCluster, key: str, source: Node, target: Node) -> None:
        self.source = source
        self.target = target
        self._cluster = cluster
        self._key = key
        self._slot = slot_of(key)
        target.cluster("SETSLOT", self._slot, "IMPORTING", source.id)
        source.cluster("SETSLOT", self._slot, "MIGRATING", target.id)

    def move_keys(self, count: int) -> int:
        """Move so many of the slot's keys at most; return how many it were."""
        keys = self.source.cluster("GETKEYSINSLOT", self._slot, count)
        if keys:
            with self.source.client() as client:
                login = ["AUTH2", *self.target.admin.values()] if self.target.secured else []
                command = ["MIGRATE", "127.0.0.1", self.target.port, "", 0, 10_000, *login]
                client.execute_command(*command, "KEYS", *keys)
        return len(keys)

    def end(self) -> None:
        """Move the keys that are left, and give the slot to the target."""
        while self.move_keys(100):
            pass
        # The target first: were it the last, a client might be sent to and fro between the two.
        for node in dict.fromkeys((self.target, self.source, *self._cluster.masters())):
            node.cluster("SETSLOT", self._slot, "NODE", self.target.id)
        wait_until(lambda: self._cluster.master_of(self._key) is self.target)


def slot_of(key: str) -> int:
    """Return the slot that a key belongs to."""
    return key_slot(key.encode(errors="surrogateescape"))


def _ids_in(view: View) -> set[str]:
    return {str(node["node_id"]) for node in view.values()}


def _master_in(view: View, slot: int) -> str | None:
    """Return the address of a slot's master, as one node sees it."""
    for address, seen in view.items():
        for first, *last in seen["slots"]:
            if int(first) <= slot <= int(last[0] if last else first):
                return address
    return None
