"""Say what the keys of entities hold."""

from collections.abc import Sequence
from typing import Any

from status_tracker.connection.client import Client
from status_tracker.lua.script import Call, Script

_script = Script("examine", flags="no-writes")


def call(
    *, status: bytes, history: bytes, stalled: str, phases: Sequence[str], entity_id: bytes
) -> Call:
    """Return what the script is called with for one entity."""
    return Call([status, history, stalled, *phases], [entity_id])


async def examine(client: Client, calls: Sequence[Call]) -> list[list[Any]]:
    """Return of each call its status, newest change, mark and scores; None for what is not there.

    In the place of what a key of another type does not have there is ``[type]``.
    """
    return await _script.run_all(client, calls)
