"""What the server says of a whole deployment, for metrics and probes: asked now and then."""

import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

from msgspec import Struct

from status_tracker.connection.client import Client, checked
from status_tracker.keys import GROUP
from status_tracker.metadata import Deployment
from status_tracker.monitoring.fleet import FleetState, read_fleet
from status_tracker.text import decoded

MOST_DIGITS = 19
"""From as many digits on, a number is none that a script counted."""


class Overview(Struct, frozen=True):
    """A deployment at about one moment."""

    fleet: FleetState
    lag: list[int]
    """Of each partition, in entries: at most so many where the server cannot tell."""
    entities: dict[tuple[str, str], int]
    """By kind and phase."""
    stalled: dict[str, int]
    """By kind."""
    lengths: dict[tuple[str, str], int]
    """Of each stream, by what it is for and its partition; "" where all share it."""
    clock_ahead: float
    """Milliseconds that the server's clock is ahead of ours."""


async def read_overview(client: Client, deployment: Deployment) -> Overview:
    """Ask the server, in four round trips, or five where a lag is not known.

    Raises one of `UNAVAILABLE`.
    """
    keys = deployment.keys
    fleet = await read_fleet(client, deployment)
    own = [keys.partition(number) for number in range(deployment.partitions)]
    streams = {each.events: ("events", str(number)) for number, each in enumerate(own)}
    for number, each in enumerate(own):
        place = str(number) if keys.layout == "cluster" else ""
        streams[each.changes] = ("changes", place)
        streams[each.rejected] = ("rejected", place)
    kinds = list(deployment.rules.kinds)
    counts = {each.counts(kind): kind for each in own for kind in kinds}
    stalled = {each.stalled(kind): kind for each in own for kind in kinds}
    began = time.time()
    clock, *replies = checked(
        await client.execute_all(
            [
                ("TIME",),
                *(("XLEN", key) for key in streams),
                *(("HGETALL", key) for key in counts),
                *(("ZCARD", key) for key in stalled),
            ]
        )
    )
    at = (began + time.time()) / 2
    lengths, replies = replies[: len(streams)], replies[len(streams) :]
    tables, marks = replies[: len(counts)], replies[len(counts) :]
    return Overview(
        fleet,
        await _lag(client, fleet, [each.events for each in own]),
        _entities(deployment, zip(counts.values(), tables, strict=True)),
        _stalled(kinds, zip(stalled.values(), marks, strict=True)),
        dict(zip(streams.values(), lengths, strict=True)),
        1000 * (int(clock[0]) + int(clock[1]) / 1e6 - at),
    )


def _entities(deployment: Deployment, tables: Any) -> dict[tuple[str, str], int]:
    """Sum up how many entities there are; phases that the rules do not have any more count, too."""
    found = {
        (kind, phase): 0 for kind, life in deployment.rules.kinds.items() for phase in life.phases
    }
    for kind, flat in tables:
        for phase, count in zip(map(decoded, flat[::2]), flat[1::2], strict=True):
            # Somebody may have written something else there.
            number = int(count) if count.isdigit() and len(count) < MOST_DIGITS else 0
            found[kind, phase] = found.get((kind, phase), 0) + number
    return found


def _stalled(kinds: Sequence[str], marks: Any) -> dict[str, int]:
    found = dict.fromkeys(kinds, 0)
    for kind, count in marks:
        found[kind] += count
    return found


async def _lag(client: Client, fleet: FleetState, streams: Sequence[str]) -> list[int]:
    """Return the lag of each partition; where the server cannot tell, what it is at most.

    It cannot where unread entries were deleted, or the group is not there: what was added and not
    read then counts those, too.
    """
    unknown = [state.number for state in fleet.partitions if state.lag is None]
    commands = [
        (("XINFO", "STREAM", streams[each]), ("XINFO", "GROUPS", streams[each])) for each in unknown
    ]
    replies = await client.execute_all(list(chain.from_iterable(commands))) if unknown else []
    most = {
        number: _unread(replies[2 * place], replies[2 * place + 1])
        for place, number in enumerate(unknown)
    }
    return [most[each.number] if each.lag is None else each.lag for each in fleet.partitions]


def _unread(stream: Any, groups: Any) -> int:
    if isinstance(stream, Exception) or isinstance(groups, Exception):
        return 0  # there is no such stream any more
    of_stream = _fields(stream)
    of_group = next((each for each in map(_fields, groups) if each["name"] == GROUP.encode()), {})
    read = of_group.get("entries-read")
    length: int = of_stream["length"]
    return length if read is None else min(length, of_stream["entries-added"] - read)


def _fields(flat: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(map(decoded, flat[::2]), flat[1::2], strict=True))
