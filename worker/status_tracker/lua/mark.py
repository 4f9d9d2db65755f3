"""Mark entities as stalled, once all that came in time is applied."""

from collections.abc import Mapping, Sequence
from math import ceil

import msgspec
from msgspec import Struct

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("mark")
_encode = msgspec.msgpack.Encoder().encode


class _Payload(Struct):
    marks: list[list[str]]
    updates: list[str]


async def mark(
    client: Client,
    *,
    partition: str,
    events: str,
    lease: str,
    owner: str,
    cursor: str,
    deadline: float,
    marks: Mapping[str, Sequence[tuple[float, str]]],
    updates: Sequence[str],
) -> bool:
    """Mark entities, by the key of the set: each with the time at which its limit passed.

    Updates are added to the stream besides. Returns whether that was done; nothing is where the
    partition has another owner, the cursor is elsewhere, or what came before the deadline, in
    milliseconds, is not all applied.
    """
    members = [[text for at, each in some for text in (repr(at), each)] for some in marks.values()]
    payload = _encode(_Payload(members, list(updates)))
    keys = [partition, events, lease, *marks]
    return bool(await _script.run(client, keys, [owner, cursor, str(ceil(deadline)), payload]))
