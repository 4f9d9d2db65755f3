"""Take away entries that were applied and are old."""

from typing import NamedTuple

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script
from status_tracker.text import decoded

_script = Script("trim")


class Trimmed(NamedTuple):
    """What was taken away from one stream."""

    entries: int
    lagging: str
    """A consumer group that old entries are kept for; "" for none."""


async def trim(
    client: Client, *, partition: str, events: str, group: str, before: int, held: int, most: int
) -> Trimmed:
    """Take away about as many entries as `most` that came before a time, in milliseconds.

    What other groups have not read is kept, unless it came before `held`.
    """
    args = [group, str(before), str(held), str(most)]
    entries, lagging = await _script.run(client, [partition, events], args)
    return Trimmed(entries, decoded(lagging))
