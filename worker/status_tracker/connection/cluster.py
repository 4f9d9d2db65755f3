"""A client of a Redis Cluster: each command goes to the node that has the slot of its key."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from status_tracker.connection.client import UNAVAILABLE, Client, Command, checked
from status_tracker.connection.server import Server

Address = tuple[str, int]

MOST_REDIRECTIONS = 16
"""Times that one command is sent to another node: while slots move, two nodes may each name the
other for a moment."""

# redis-py knows these errors by their class, without their first word; before 6.0 it does not.
_REDIRECTION = re.compile(r"(?:MOVED |ASK )?(?P<slot>\d+) (?P<host>\S*):(?P<port>\d+)")

# Where the first key of a command stands; in most it follows the name.
_FIRST_KEY = {"EVALSHA": 3, "EVAL": 3, "XREAD": -2, "XINFO": 2}
_WITHOUT_KEY = {"INFO", "TIME"}


class Cluster:
    """A cluster's client; the keys of each command share a slot, as all of ours do."""

    is_cluster = True

    def __init__(self, seeds: Sequence[Address], node: Callable[[Address], Server]) -> None:
        self._seeds = seeds
        self._new_node = node
        self._nodes: dict[Address, Server] = {}
        self._slots: dict[int, Address] = {}
        # Everybody waits for one and the same look at the slots.
        self._looking: asyncio.Task[None] | None = None
        self._outdated = True
        self._answered = seeds[0]
        self._hung: Address | None = None

    async def execute(self, *command: str | bytes | int) -> Any:
        """Return the reply to a command."""
        if self._outdated:
            await self._look_for_slots()
        [reply] = checked(await self._ask(self._address(command), [command]))
        return reply

    async def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send each command to its node; return their replies, an error in the place of its reply.

        That includes the errors of connections: a part of a cluster may be out of reach.
        """
        if self._outdated:
            await self._look_for_slots()
        places: dict[Address | None, list[int]] = {}
        address = None
        for place, command in enumerate(commands):
            # WAIT is about what its connection wrote before.
            address = address if command[0] == "WAIT" else self._address(command)
            places.setdefault(address, []).append(place)
        replies: list[Any] = [None] * len(commands)

        async def ask(address: Address | None, places: list[int]) -> None:
            found = await self._ask(address, [commands[place] for place in places])
            for place, reply in zip(places, found, strict=True):
                replies[place] = reply

        await asyncio.gather(*(ask(*each) for each in places.items()))
        return replies

    async def masters(self) -> dict[str, Server]:
        """Return the client of each node that has slots, by its address.

        Raises one of `UNAVAILABLE` where no node answers.
        """
        if self._outdated:
            await self._look_for_slots()
        addresses = sorted(set(self._slots.values()))
        return {f"{host}:{port}": self._node((host, port)) for host, port in addresses}

    @property
    def is_whole(self) -> bool:
        """Whether each slot has a node, as far as is known."""
        return len(self._slots) == REDIS_CLUSTER_HASH_SLOTS

    async def close(self) -> None:
        """Close all connections."""
        if self._looking is not None:
            self._looking.cancel()
        for node in self._nodes.values():
            await node.close()

    def _address(self, command: Command) -> Address | None:
        """Return the address of the node for a command; None where no node has its slot."""
        name = str(command[0])
        if name in _WITHOUT_KEY:
            return self._answered
        return self._slots.get(_slot(command))

    async def _ask(self, address: Address | None, commands: Sequence[Command]) -> list[Any]:
        """Return the replies of a node to commands, and of others where it names others."""
        if address is None:
            self._outdated = True
            return [exceptions.SlotNotCoveredError("no node has the key's slot")] * len(commands)
        replies = await self._send(address, commands)
        return [
            await self._redirected(command, reply, address)
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def _send(self, address: Address, commands: Sequence[Command]) -> list[Any]:
        """Send commands to a node; where it cannot be reached, its error is each one's reply."""
        try:
            return await self._node(address).execute_all(commands)
        except UNAVAILABLE as error:
            self._outdated = True
            if isinstance(error, exceptions.TimeoutError):
                self._hung = address
            return [error] * len(commands)

    async def _redirected(self, command: Command, reply: Any, address: Address) -> Any:
        """Follow a reply that names another node; return the first one that does not."""
        for _ in range(MOST_REDIRECTIONS):
            if not isinstance(reply, exceptions.ResponseError):
                return reply
            text = str(reply)
            if isinstance(reply, exceptions.ClusterDownError) or text.startswith("CLUSTERDOWN"):
                self._outdated = True
            told = _REDIRECTION.fullmatch(text)
            if told is None:
                return reply
            # Without a host, it is another port of the same one.
            address = (told["host"] or address[0], int(told["port"]))
            if isinstance(reply, exceptions.MovedError) or text.startswith("MOVED"):
                self._slots[int(told["slot"])] = address
                [reply] = await self._send(address, [command])
            else:
                # Both on one connection, or the node does not know what it was asked.
                [_, reply] = await self._send(address, [("ASKING",), command])
        return exceptions.ClusterError("a slot is moving: too many redirections")

    async def _look_for_slots(self) -> None:
        """Find out which node has which slot; raises one of `UNAVAILABLE` where none answers."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="cluster slots")
        # Whoever is cancelled meanwhile must not end it for the others.
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        # One that hangs is asked last: everybody waits for the answer.
        addresses = sorted(
            dict.fromkeys((self._answered, *self._nodes, *self._seeds)),
            key=lambda address: address == self._hung,
        )
        trouble: BaseException = exceptions.ClusterError("no node has any slots")
        for address in addresses:
            try:
                ranges = await self._node(address).execute("CLUSTER", "SLOTS")
            except UNAVAILABLE as error:
                trouble = error
                continue
            if ranges:
                await self._adopt(address, ranges)
                return
        raise trouble

    async def _adopt(self, answered: Address, ranges: Sequence[Any]) -> None:
        """Take over what a node says: ``[[first slot, last slot, [host, port, …], …], …]``."""
        slots: dict[int, Address] = {}
        for first, last, (host, port, *_), *_ in ranges:
            # Without a host, it is the one that was asked.
            address = (host.decode() if host else answered[0], port)
            slots.update(dict.fromkeys(range(first, last + 1), address))
        self._slots, self._answered, self._outdated = slots, answered, False
        known = {*slots.values(), *self._seeds, answered}
        for address in self._nodes.keys() - known:
            await self._nodes.pop(address).close()

    def _node(self, address: Address) -> Server:
        if address not in self._nodes:
            self._nodes[address] = self._new_node(address)
        return self._nodes[address]


async def masters(client: Client) -> list[Client]:
    """Return a client of each server whose keys no other has, for commands that name no key.

    Raises `ClusterError` where some keys have no server.
    """
    if not isinstance(client, Cluster):
        return [client]
    found = await client.masters()
    if not client.is_whole:
        raise exceptions.ClusterError("some slots have no node")
    return [*found.values()]


def _slot(command: Command) -> int:
    key = command[_FIRST_KEY.get(str(command[0]), 1)]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())
