"""redis-py's client for a Redis Cluster, with what our commands need otherwise."""

from typing import Any

from redis._parsers import AsyncCommandsParser
from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from redis.exceptions import RedisError


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
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands_parser = _NoCommands()
        self._hangs: str | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command on the node that has the slot of its keys."""
        try:
            return await super().execute_command(*args, **options)
        except RedisError as error:
            self._hangs = getattr(error, "last_failed_node_name", self._hangs)
            raise

    async def initialize(
        self,
        additional_startup_nodes_info: list[tuple[str, int]] | None = None,
        last_failed_node_name: str | None = None,
    ) -> RedisCluster:
        """Find out where the slots are, unless that is known."""
        return await super().initialize(
            additional_startup_nodes_info, last_failed_node_name or self._hangs
        )

    async def _determine_slot(self, command: str, *args: Any) -> int:
        if command in ("EVALSHA", "EVAL"):
            return self.keyslot(args[2])  # script, number of keys, key
        if command == "XREAD":
            return self.keyslot(args[-2])  # … STREAMS key id
        return self.keyslot(args[0])

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

    async def aclose(self) -> None:
        """Close all connections; redis-py leaves them open when it was about to look for nodes."""
        await super().aclose()
        await self.nodes_manager.aclose()
        await self.nodes_manager.aclose("startup_nodes")


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
