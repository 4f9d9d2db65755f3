"""Say which commands the user may not do."""

from collections.abc import Sequence

import msgspec

from status_tracker.connection.client import Client, Command
from status_tracker.lua.script import Script

_script = Script("allowed", flags="no-writes")


async def refused(client: Client, *, meta: str, commands: Sequence[Command]) -> list[Command]:
    """Return the commands that the user may not do; none of them is done.

    Raises one of `UNAVAILABLE`; `NoPermissionError` where the user may not even run scripts.
    """
    places = await _script.run(client, [meta], [msgspec.msgpack.encode(commands)])
    return [commands[place - 1] for place in places]
