"""Say what stands first in some lists."""

from collections.abc import Sequence
from typing import Any

from status_tracker.connection.client import Client
from status_tracker.lua.script import Call, Script

_script = Script("newest", flags="no-writes")


async def newest(client: Client, lists: Sequence[Sequence[bytes]]) -> list[list[Any]]:
    """Return what stands first in each of the lists, which are given by their slots.

    None where there is nothing, ``[type]`` where a key is no list.
    """
    return await _script.run_all(client, [Call(keys, []) for keys in lists])
