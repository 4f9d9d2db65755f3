"""Read a page of a sorted set, from a place on."""

from math import inf
from typing import NamedTuple

from status_tracker.connection.client import Client
from status_tracker.lua.script import Script

_script = Script("page", flags="no-writes")


class Place(NamedTuple):
    """A place in a sorted set, whether or not anybody is there any more."""

    score: float
    member: bytes
    """Empty: before all that have the score."""


BEGINNING = Place(-inf, b"")


async def page(client: Client, key: str, *, after: Place, count: int) -> list[tuple[bytes, float]]:
    """Return so many members behind a place, with their scores."""
    flat = await _script.run(client, [key], [repr(after.score), after.member, str(count)])
    return list(zip(flat[::2], map(float, flat[1::2]), strict=True))
