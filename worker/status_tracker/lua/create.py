"""Create a deployment."""

from collections.abc import Mapping
from itertools import chain

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script
from status_tracker.text import decoded_fields

_script = Script("create")


async def create(client: Client, *, meta: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Set the fields of the hash that it does not have; return all that it has then."""
    flat = await _script.run(client, [meta], list(chain.from_iterable(fields.items())))
    return decoded_fields(flat)
