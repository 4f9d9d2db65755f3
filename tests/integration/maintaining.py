"""Entries whose time a test gives, and owners whose partitions it drives step by step."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import msgspec
import redis
from status_tracker.connection.client import Client, Command
from status_tracker.engine.heard import Heard
from status_tracker.keys import Layout, partition_of
from status_tracker.metadata import Deployment
from status_tracker.rules import Rules, parse_rules, rules_json
from status_tracker.testing.line import Line

from tests.line import RULES, deployed, server_line
from tests.servers import Redis

SECOND = 1_000
T0 = 1_700_000_000_000
"""When these tests begin."""
PARTITIONS = 4


def rules_of_task(**changes: Any) -> Rules:
    """Return the shipped rules with some keys of `[task]` changed."""
    found = msgspec.json.decode(rules_json(RULES))
    found["task"] |= changes
    return parse_rules(found)


class Owner:
    """A worker that owns some partitions; its time is what the test says."""

    def __init__(
        self,
        client: Client,
        direct: Redis,
        rules: Rules,
        *numbers: int,
        layout: Layout = "single",
    ) -> None:
        self.client = client
        self.deployment: Deployment = deployed(rules, layout=layout, partitions=PARTITIONS)
        self.lines: dict[int, Line] = {
            number: server_line(client, number, rules=rules, layout=layout) for number in numbers
        }
        self._direct = direct

    def heard(self) -> dict[int, Heard]:
        """Return what the policies know of the partitions."""
        return {number: line.builder.heard for number, line in self.lines.items()}

    def known(self) -> Deployment:
        """Return the deployment, for the policies."""
        return self.deployment

    async def attach(self) -> None:
        """Take the partitions over."""
        for line in self.lines.values():
            await line.attach()

    async def apply(self) -> None:
        """Apply all that is unread."""
        for line in self.lines.values():
            while (await line.turn()).entries:
                pass

    async def say(self, at: int, entity_id: str, *phases: str, **fields: Any) -> None:
        """Have updates come at a time, with that time unless they give another one; apply them."""
        self.add(at, entity_id, *phases, **fields)
        await self.apply()

    def add(self, at: int, entity_id: str, *phases: str, **fields: Any) -> None:
        """Have updates come at a time."""
        number = partition_of(entity_id, PARTITIONS)
        for phase in phases:
            update = {"kind": "task", "id": entity_id, "phase": phase, "updatedAt": at, **fields}
            data = msgspec.json.encode(update)
            self._direct.xadd(f"status:events:{{{number}}}", {"data": data}, id=f"{at}-*")


class Interrupted:
    """A client that loses its connection once: before or after the server did the nth command."""

    def __init__(self, client: Client, number: int, *, done: bool) -> None:
        self.is_cluster = client.is_cluster
        self.number: int = number
        self._client = client
        self._left = number
        self._done = done

    async def execute(self, *command: str | bytes | int) -> Any:
        """Return the reply to a command."""
        [reply] = await self.execute_all([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands."""
        self._left -= 1
        if self._left == 0 and not self._done:
            raise redis.ConnectionError("lost")
        replies = await self._client.execute_all(commands)
        if self._left == 0:
            raise redis.ConnectionError("lost")
        return replies

    async def close(self) -> None:
        """Leave it to the other one."""

    @property
    def was_lost(self) -> bool:
        """Whether there were so many commands."""
        return self._left <= 0


def interruptions(client: Client, *, done: bool) -> Iterator[Interrupted]:
    """Yield what loses its connection at its first command, its second, … as many as were used."""
    for number in count(1):
        cut = Interrupted(client, number, done=done)
        yield cut
        if not cut.was_lost:
            return


class WithoutNode:
    """A client that cannot reach the node of a partition, in the layout `cluster`."""

    is_cluster = True

    def __init__(self, client: Client, number: int) -> None:
        self._client = client
        self._tag = f"{{{number}}}"

    async def execute(self, *command: str | bytes | int) -> Any:
        """Return the reply to a command."""
        if any(self._tag in each for each in command if isinstance(each, str)):
            raise redis.ConnectionError("away")
        return await self._client.execute(*command)

    async def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands."""
        return [await self.execute(*each) for each in commands]

    async def close(self) -> None:
        """Leave it to the other one."""


MakeOwner = Callable[..., Owner]
