"""Find where to read on in one partition, and recreate what is missing there."""

from msgspec import Struct

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script
from status_tracker.text import decoded

_script = Script("attach")


class Attached(Struct, frozen=True):
    """Where a partition is read on from."""

    cursor: str
    epoch: int = 0
    """How many streams there were before this one."""
    lost: int = 0
    """Entries that somebody trimmed or deleted since the last time, before they were read."""
    created: tuple[str, ...] = ()
    """What was missing and is there now: any of `stream`, `hash`, `group`; `cursor` where the
    stream is another one, `ids` where its last ID left no room for more."""


async def attach(
    client: Client, *, partition: str, events: str, group: str, thorough: bool, revision: int
) -> Attached:
    """Return the cursor of a partition, which takes up the revision of the rules there.

    Look at the stream's last ID in any case if `thorough`. Raises `ResponseError` where the
    partition goes by a later revision.
    """
    args: list[str | bytes] = [group, "1" if thorough else "", str(revision)]
    cursor, epoch, lost, *created = await _script.run(client, [partition, events], args)
    return Attached(decoded(cursor), epoch, lost, tuple(map(decoded, created)))
