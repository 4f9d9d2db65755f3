"""Delete the histories of entities that are not there any more."""

from collections.abc import Sequence

from status_tracker.connection.client import Client
from status_tracker.lua.script import Call, Script

_script = Script("drop_history")


def call(*, status: bytes, history: bytes) -> Call:
    """Return what the script is called with for one entity."""
    return Call([status, history], [])


async def drop_history(client: Client, calls: Sequence[Call]) -> list[bool]:
    """Delete histories; tell of each whether that was done."""
    return [reply == 1 for reply in await _script.run_all(client, calls)]
