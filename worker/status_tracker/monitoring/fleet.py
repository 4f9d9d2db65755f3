"""One look at a deployment: who owns which partition, and how far behind each one is.

It only reads keys, so it can be taken at any time, by anybody who may read them.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from msgspec import Struct
from redis.exceptions import ResponseError

from status_tracker.connection.client import Client, Command
from status_tracker.keys import GROUP, Keys

_NO_KEY = -2
"""What PTTL says where nothing is."""


class PartitionState(Struct, frozen=True):
    """What the keys say about a partition."""

    number: int
    owner: str | None
    cursor: str | None
    """The ID of the last entry applied; None where the partition's hash has none."""
    lag: int | None
    """Entries that are not read yet; None where the server cannot tell how many."""
    lag_seconds: float
    """For how long the first of them has been waiting, by the server's clock."""
    lease_left: float | None
    """Seconds until the lease runs out; None without an owner, or where it does not run out."""


class WorkerState(Struct, frozen=True):
    """What the keys say about a worker."""

    name: str
    heartbeat_age: float
    """Seconds since its last heartbeat, by the server's clock."""
    partitions: list[int]


class FleetState(Struct, frozen=True):
    """What the keys say at one moment."""

    partitions: list[PartitionState]
    workers: list[WorkerState]


class _Replies(Struct):
    """The replies about one partition."""

    owner: bytes | None
    lease_left: int
    cursor: bytes | None
    groups: list[list[Any]] | None
    """``[[field, value, …], …]``"""

    @property
    def group(self) -> dict[bytes, Any]:
        """The group that is kept in step with the cursor; empty where it is missing."""
        groups = (dict(zip(each[::2], each[1::2], strict=True)) for each in self.groups or ())
        return next((group for group in groups if group[b"name"] == GROUP.encode()), {})

    @property
    def position(self) -> str:
        """Where a worker would read on: as `attach.lua` finds it where the hash is lost."""
        position = self.cursor
        if position is None and self.group.get(b"entries-read") is not None:
            position = self.group[b"last-delivered-id"]
        return _text(position) or "0-0"


async def read_fleet(client: Client, keys: Keys, partitions: int) -> FleetState:
    """Look at all partitions and workers, in two round trips.

    Raises one of `UNAVAILABLE`; where a key is of another type, the error names it.
    """
    numbers = range(partitions)
    time, scores, *replies = await _ask(
        client,
        [
            ("TIME",),
            ("ZRANGE", keys.workers, "0", "-1", "WITHSCORES"),
            *chain.from_iterable(_about(keys, number) for number in numbers),
        ],
    )
    now = int(time[0]) * 1000 + int(time[1]) // 1000
    found = [_Replies(*replies[begin : begin + 4]) for begin in range(0, len(replies), 4)]
    unread = await _ask(
        client,
        [
            ("XRANGE", keys.events(number), f"({each.position}", "+", "COUNT", "1")
            for number, each in zip(numbers, found, strict=True)
        ],
    )
    states = [
        _partition(number, each, entries, now)
        for number, each, entries in zip(numbers, found, unread, strict=True)
    ]
    workers = sorted(_workers(scores, states, now), key=lambda worker: worker.name)
    return FleetState(states, workers)


def _about(keys: Keys, number: int) -> Iterator[Command]:
    """Yield the commands whose replies are a partition's `_Replies`."""
    yield "GET", keys.lease(number)
    yield "PTTL", keys.lease(number)
    yield "HGET", keys.partition(number).partition, "cursor"
    yield "XINFO", "GROUPS", keys.events(number)


async def _ask(client: Client, commands: Sequence[Command]) -> list[Any]:
    """Return the replies to commands; None for a stream that is not there."""
    replies = await client.execute_all(commands)
    for place, (command, reply) in enumerate(zip(commands, replies, strict=True)):
        if isinstance(reply, ResponseError):
            if "no such key" not in str(reply):
                raise ResponseError(f"{' '.join(map(str, command))}: {reply}")
            replies[place] = None
        elif isinstance(reply, Exception):
            raise reply
    return replies


def _partition(number: int, replies: _Replies, unread: list[Any], now: int) -> PartitionState:
    # The lease may have run out between the two commands.
    owner = None if replies.lease_left == _NO_KEY else replies.owner
    # An entry's ID begins with the time at which the server took it.
    waits = max(0, now - int(unread[0][0].partition(b"-")[0])) if unread else 0
    return PartitionState(
        number,
        _text(owner),
        _text(replies.cursor),
        replies.group.get(b"lag") if unread else 0,
        waits / 1000,
        replies.lease_left / 1000 if owner is not None and replies.lease_left >= 0 else None,
    )


def _workers(
    scores: list[bytes], partitions: list[PartitionState], now: int
) -> Iterator[WorkerState]:
    """Yield the state of each worker from the flat ``[name, score, …]``."""
    for name, heartbeat in zip(scores[::2], scores[1::2], strict=True):
        worker = name.decode(errors="replace")
        held = [state.number for state in partitions if state.owner == worker]
        age = now - min(max(float(heartbeat), 0.0), now)
        yield WorkerState(worker, age / 1000, held)


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="replace")
