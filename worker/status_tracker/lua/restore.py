"""Make entities what they are to be."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("restore")
_encode = msgspec.msgpack.Encoder().encode


class Restored(NamedTuple):
    """What an entity is to be."""

    id: str
    status_key: str
    history_key: str
    found: bytes
    """What its status key holds; b"" for nothing."""
    status: bytes
    scores: Mapping[str, str]
    """By phase."""
    history: Sequence[bytes]
    """The newest change first."""


async def restore(
    client: Client, *, counts: str, phases: Mapping[str, str], entities: Sequence[Restored]
) -> int:
    """Write entities of one kind whose status is what was found; return how many are not.

    `phases` are the keys of the sets, by phase.
    """
    batch = {
        "phases": list(phases),
        "entities": [
            (each.id, [each.scores.get(phase, "") for phase in phases], len(each.history))
            for each in entities
        ],
    }
    keys = [counts, *phases.values()]
    args: list[str | bytes] = [_encode(batch)]
    for each in entities:
        keys += (each.status_key, each.history_key)
        args += (each.found, each.status, *each.history)
    return len(await _script.run(client, keys, args))
