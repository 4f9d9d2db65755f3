"""Add the entries that one partition's stream has for another one, each once."""

from collections.abc import Iterable
from itertools import chain
from typing import Literal

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
    entries: Iterable[tuple[bytes, bytes, bytes]],
    noted: Literal["from", "bridged"] = "from",
) -> None:
    """Add entries to the receiver's stream: each as its ID, a field, and the value.

    They are in the order of the sender's stream, which is of another deployment if `bridged`.
    """
    args: list[str | bytes] = [noted, str(sender), str(epoch), *chain.from_iterable(entries)]
    await _script.run(client, [partition, events], args)
