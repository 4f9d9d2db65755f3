"""Note that a worker lives."""

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script
from status_tracker.text import decoded

# Also when the server's memory is full: who owns what must not change because of that.
_script = Script("heartbeat", flags="allow-oom")


async def heartbeat(
    client: Client, *, workers: str, name: str, within: int
) -> tuple[list[str], bool]:
    """Note that a worker lives; return the live ones, and whether its name was there.

    A worker that was not heard of within so many ms is not live any more.
    """
    added, names = await _script.run(client, [workers], [name, str(within)])
    return [decoded(each) for each in names], not added
