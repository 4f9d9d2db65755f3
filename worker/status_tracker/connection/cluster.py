"""redis-py's client for a Redis Cluster, with what our commands need otherwise."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import exceptions
from redis._parsers import AsyncCommandsParser
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, PipelineCommand, RedisCluster


class Cluster(RedisCluster):
    """A cluster's client for commands whose keys share a slot, as all of ours do.

    redis-py 8.1 hashes each key of a command, twice, and asks a server where the keys of XREAD are;
    here the first key tells the slot.

    It sends ASKING on one connection of its pool and the command on another (its issue 4015 is
    close by), so that while a slot moves a command goes to and fro until it is given up; here both
    go together.

    It asks any node where the slots are, and the first one for its commands, even if a command has
    just timed out there, while every command to the others waits for the answers; here a node that
    hangs is asked last.

    It closes every connection when the cluster is down, also in the middle of others' commands, and
    forgets the nodes that it began with when it found others; here it only looks for the nodes
    anew, and where those that it found are gone, among the first ones, too.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands_parser = _NoCommands()
        self._seeds = {node.name: node for node in self.startup_nodes}
        self._hangs: str | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command on the node that has the slot of its keys."""
        with _clear_errors(self):
            return await super().execute_command(*args, **options)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> "_Pipeline":
        """Return a pipeline; its commands go to the nodes that have their slots."""
        return _Pipeline(self)  # type: ignore[abstract]

    def look_anew(self, hangs: str | None = None) -> None:
        """Find out where the slots are before the next command; a node may be known to hang."""
        self._initialize = True
        self._hangs = hangs or self._hangs

    async def initialize(
        self,
        additional_startup_nodes_info: list[tuple[str, int]] | None = None,
        last_failed_node_name: str | None = None,
    ) -> RedisCluster:
        """Find out where the slots are, unless that is known."""
        looking = super().initialize(
            additional_startup_nodes_info, last_failed_node_name or self._hangs
        )
        try:
            # Everybody waits for it: whoever is cancelled meanwhile must not end it.
            return await asyncio.shield(looking)
        except (exceptions.RedisClusterException, IndexError):
            self.nodes_manager.set_nodes(self.nodes_manager.startup_nodes, self._seeds)
            raise

    async def aclose(self) -> None:
        """Only look for the nodes anew: redis-py calls this when the cluster is down."""
        self.look_anew()

    async def disconnect(self) -> None:
        """Close all connections."""
        await super().aclose()
        await self.nodes_manager.aclose()
        await self.nodes_manager.aclose("startup_nodes")

    async def _determine_slot(self, command: str, *args: Any) -> int:
        if command in ("EVALSHA", "EVAL"):
            key = args[2]  # script, number of keys, key
        elif command == "XREAD":
            key = args[-2]  # … STREAMS key id
        else:
            key = args[0]
        slot = self.keyslot(key)
        if not self._initialize and slot not in self.nodes_manager.slots_cache:
            self.look_anew()
            raise exceptions.SlotNotCoveredError(f"no node has slot {slot}, of {key}")
        return slot

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        """Return a node; one that is asked for by its name is the target of an ASK redirect."""
        node = super().get_node(host, port, node_name)
        if node_name is None:
            return node
        if node is None:
            # A node that is just getting its first slot.
            name, _, number = node_name.rpartition(":")
            node = ClusterNode(name, int(number), **self.connection_kwargs)
            self.nodes_manager.set_nodes(self.nodes_manager.nodes_cache, {node.name: node})
        return _Asked(node)


@contextmanager
def _clear_errors(client: Cluster) -> Iterator[None]:
    """Say what redis-py's errors mean, and look for the nodes anew after them."""
    try:
        yield
    except exceptions.TimeoutError as error:
        client.look_anew(hangs=getattr(error, "last_failed_node_name", None))
        raise
    except exceptions.ConnectionError:
        client.look_anew()
        raise
    except exceptions.ClusterError as error:
        if "TTL exhausted" in str(error):
            raise exceptions.ClusterError("TRYAGAIN: a slot is moving") from error
        raise
    except (AttributeError, IndexError, KeyError) as error:
        # A connection that was closed under a command, or no node has any slots.
        client.look_anew()
        raise exceptions.ClusterError(f"the cluster is changing ({error!r})") from error


class _Pipeline(ClusterPipeline):
    """A pipeline whose errors are those of the client."""

    cluster_client: Cluster

    async def execute(
        self, raise_on_error: bool = True, allow_redirections: bool = True
    ) -> list[Any]:
        """Send the commands; return their replies."""
        with _clear_errors(self.cluster_client):
            return await super().execute(raise_on_error, allow_redirections)


class _NoCommands(AsyncCommandsParser):
    """What redis-py would know of commands and their keys, had it asked."""

    async def initialize(self, node: Any = None) -> None:
        """Ask nothing."""


class _Asked(ClusterNode):
    """A node that is asked for a slot which is on its way to it."""

    def __init__(self, node: ClusterNode) -> None:
        super().__init__(node.host, node.port)
        self._node = node

    async def execute_command(self, *args: Any, **_: Any) -> Any:
        if args == ("ASKING",):
            return None  # goes with the command that comes next
        asking, command = PipelineCommand(0, "ASKING"), PipelineCommand(1, *args)
        await self._node.execute_pipeline([asking, command])
        if isinstance(command.result, Exception):
            raise command.result
        return command.result
