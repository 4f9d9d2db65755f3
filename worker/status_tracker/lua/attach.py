"""Find where to read on in one partition, and recreate what is missing there."""

from msgspec import Struct

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("attach")


class Attached(Struct, frozen=True):
    """Where a partition is read on from."""

    cursor: str
    created: tuple[str, ...]
    """What was missing and is there now: any of `stream`, `hash`, `group`, `cursor`."""


async def attach(client: Client, *, partition: str, events: str, group: str) -> Attached:
    """Return the cursor of a partition."""
    cursor, *created = await _script.run(client, [partition, events], [group])
    return Attached(cursor.decode(), tuple(name.decode() for name in created))
