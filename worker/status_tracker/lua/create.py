"""Create a deployment."""

from collections.abc import Mapping
from itertools import chain

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script
from status_tracker.text import decoded

_script = Script("create")


async def create(client: Client, *, meta: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Set the fields of the hash that it does not have; return all that it has then."""
    flat = await _script.run(client, [meta], list(chain.from_iterable(fields.items())))
    texts = [decoded(each) for each in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))
