"""Let a partition begin that is filled."""

from status_tracker.connection.client import Client
from status_tracker.keys import GROUP
from status_tracker.lua.script import Script

_script = Script("begin")


async def begin(
    client: Client, *, partition: str, events: str, importing: str, cursor: str, revision: int
) -> bool:
    """Give a partition its stream and its cursor; return whether it was still this run's."""
    args: list[str | bytes] = [importing, GROUP, cursor, str(revision)]
    return bool(await _script.run(client, [partition, events], args))
