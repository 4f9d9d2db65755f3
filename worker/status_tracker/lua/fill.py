"""Write entities of a snapshot."""

from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("fill")
_encode = msgspec.msgpack.Encoder().encode


async def fill(
    client: Client,
    *,
    partition: str,
    importing: str,
    line: int,
    statuses: Mapping[str, bytes],
    scores: Mapping[str, Sequence[str]],
    histories: Mapping[str, Sequence[bytes]],
) -> bool:
    """Write what belongs into the keys of one partition; return whether it is still this run's.

    `scores` are ``[score, id, …]`` by the key of their set; histories have the newest change first.
    """
    batch = {
        "line": line,
        "documents": len(statuses),
        "scores": list(scores.values()),
        "histories": list(map(len, histories.values())),
    }
    keys = [partition, *statuses, *scores, *histories]
    args: list[str | bytes] = [
        importing,
        _encode(batch),
        *statuses.values(),
        *chain.from_iterable(histories.values()),
    ]
    return bool(await _script.run(client, keys, args))
