"""redis-py's client for a Redis Cluster, with what our commands need otherwise."""

from typing import Any

from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster


class Cluster(RedisCluster):
    """A cluster's client for commands whose keys share a slot.

    redis-py 8 finds the slot of a command by hashing each of its keys, twice, and asks a server
    where the keys of XREAD are; ours are told by the first key, or by the only one. And it sends
    ASKING on one connection of its pool and the command on another (its issue 4015 is close by),
    so that while a slot moves a command goes back and forth until it is given up.
    """

    async def _determine_slot(self, command: str, *args: Any) -> int:
        if command in ("EVALSHA", "EVAL"):
            return self.keyslot(args[2])
        if command == "XREAD":
            return self.keyslot(args[-2])  # … STREAMS key id
        if command in ("MGET", "EXISTS"):
            return self.keyslot(args[0])
        return await super()._determine_slot(command, *args)

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
        return _Asked(node)


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
