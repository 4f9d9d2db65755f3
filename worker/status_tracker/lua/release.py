"""Give leases back."""

from collections.abc import Sequence

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

# Also when the server's memory is full: who owns what must not change because of that.
_script = Script("release", flags="allow-oom")


async def release(client: Client, *, leases: Sequence[str], name: str) -> None:
    """Give back the leases among these that are the worker's."""
    await _script.run(client, leases, [name])
