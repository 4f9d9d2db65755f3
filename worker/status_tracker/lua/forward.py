"""Add the updates that one partition's stream has for another one, each once."""

from collections.abc import Iterable
from itertools import chain

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("forward")


async def forward(
    client: Client,
    *,
    partition: str,
    events: str,
    sender: int,
    epoch: int,
    updates: Iterable[tuple[bytes, bytes]],
) -> None:
    """Add updates, as IDs and bytes in the order of the sender's stream, to the receiver's."""
    args: list[str | bytes] = [str(sender), str(epoch), *chain.from_iterable(updates)]
    await _script.run(client, [partition, events], args)
