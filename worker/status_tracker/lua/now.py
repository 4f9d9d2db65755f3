"""Ask a server what time it is: its clock gives entries their IDs."""

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("now", flags="no-writes")


async def now(client: Client, key: str) -> int:
    """Return the time of the server that has a key, in milliseconds since the epoch."""
    return int(await _script.run(client, [key], []))
