"""Take and renew leases."""

from collections.abc import Sequence

from redis.exceptions import ResponseError

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script
from status_tracker.text import decoded

# Also when the server's memory is full: who owns what must not change because of that.
_script = Script("claim", flags="allow-oom")


async def claim(
    client: Client, *, leases: Sequence[str], name: str, ttl: int
) -> list[str | ResponseError]:
    """Take the leases that are free, and renew the worker's own, for `ttl` ms.

    Returns the owner of each; an error in its place where the key is of another type.
    """
    owners = await _script.run(client, leases, [name, str(ttl)])
    return [each if isinstance(each, ResponseError) else decoded(each) for each in owners]
