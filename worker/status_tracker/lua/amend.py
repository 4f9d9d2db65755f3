"""Write what a deployment agrees on."""

from collections.abc import Mapping
from itertools import chain

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script
from status_tracker.text import decoded_fields

_script = Script("amend")


async def amend(
    client: Client, *, meta: str, seen: Mapping[str, str], fields: Mapping[str, str]
) -> dict[str, str]:
    """Set fields of the hash, if its version and its revision are still those that were seen.

    Returns all that the hash has then.
    """
    args = [seen.get("version", ""), seen.get("revision", ""), *chain.from_iterable(fields.items())]
    return decoded_fields(await _script.run(client, [meta], args))
