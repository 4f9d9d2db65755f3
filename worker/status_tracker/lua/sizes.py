"""Say what the counts of a kind are, and what they should be."""

from collections.abc import Mapping

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("sizes", flags="no-writes")


async def sizes(
    client: Client, *, counts: str, phases: Mapping[str, str]
) -> dict[str, tuple[bytes | None, int]]:
    """Return the count of each phase, as it stands there, and the size of its set.

    `phases` are each phase's set.
    """
    flat = await _script.run(client, [counts, *phases.values()], list(phases))
    return dict(zip(phases, zip(flat[::2], flat[1::2], strict=True), strict=True))
