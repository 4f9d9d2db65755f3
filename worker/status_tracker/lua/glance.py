"""Say which partitions may not be as their owner left them."""

from collections.abc import Sequence
from itertools import chain

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("glance", flags="no-writes")


async def glance(
    client: Client,
    *,
    partitions: Sequence[tuple[str, str]],
    group: str,
    thorough: int,
    expected: Sequence[tuple[str, str]],
) -> list[int]:
    """Return the places of those that are to be attached to again.

    `partitions` are each one's hash and stream, `expected` its cursor and revision, `thorough` is
    the place of the one whose stream's last ID is looked at, too.
    """
    keys = list(chain.from_iterable(partitions))
    args = [group, str(thorough + 1), *chain.from_iterable(expected)]
    return [place - 1 for place in await _script.run(client, keys, args)]
