"""Have the first release's workers end."""

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("take_over")


async def take_over(client: Client, *, partition: str, events: str, group: str) -> bool:
    """Have a worker of the first release that may read a partition check the deployment.

    Returns whether the partition goes by a revision of the rules already, so that none reads it.
    """
    return bool(await _script.run(client, [partition, events], [group]))
