"""Read entries without what is too large in them."""

from collections.abc import Sequence
from typing import Any

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("read", flags="no-writes")


async def read(
    client: Client,
    *,
    events: str,
    cursor: str,
    count: int,
    longest: int,
    size: int,
    names: int,
    fields: Sequence[bytes],
) -> list[Any]:
    """Return up to `count` entries after the cursor, of `size` bytes in the stream, or one more.

    Of each entry there are the fields, cut at `longest` bytes; or, where it has none of them, up to
    `names` names.
    """
    args: list[str | bytes] = [cursor, str(count), str(longest), str(size), str(names), *fields]
    entries: list[Any] = await _script.run(client, [events], args)
    return entries
