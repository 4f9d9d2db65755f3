"""Write the sizes of sets as the counts of their phases."""

from collections.abc import Mapping

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("recount")


async def recount(client: Client, *, counts: str, phases: Mapping[str, str]) -> int:
    """Write the counts of phases, of which there must be one; return how many.

    `phases` are each phase's set.
    """
    written: int = await _script.run(client, [counts, *phases.values()], list(phases))
    return written
