"""One look at a deployment: who owns which partition, and how far behind each one is.

It only reads keys, so it can be taken at any time, by anybody who may read them.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from msgspec import Struct
from redis.exceptions import ResponseError

from status_tracker.connection.url import Client
from status_tracker.keys import GROUP, Keys

_NO_KEY = -2
"""What PTTL says where nothing is."""


class PartitionView(Struct, frozen=True):
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


class WorkerView(Struct, frozen=True):
    """What the keys say about a worker."""

    name: str
    heartbeat_age: float
    """Seconds since its last heartbeat, by the server's clock."""
    partitions: list[int]


class Survey(Struct, frozen=True):
    """What the keys say at one moment."""

    partitions: list[PartitionView]
    workers: list[WorkerView]


class _State(Struct):
    """The replies about one partition."""

    owner: bytes | None
    lease_left: int
    cursor: bytes | None
    groups: list[dict[str, Any]] | None

    @property
    def group(self) -> dict[str, Any]:
        """The group that is kept in step with the cursor; empty where it is missing."""
        ours = (group for group in self.groups or () if group["name"] == GROUP.encode())
        return next(ours, {})

    @property
    def position(self) -> str:
        """Where a worker would read on: as `attach.lua` finds it where the hash is lost."""
        position = self.cursor
        if position is None and self.group.get("entries-read") is not None:
            position = self.group["last-delivered-id"]
        return _text(position) or "0-0"


async def survey(client: Client, keys: Keys, partitions: int) -> Survey:
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
    now = time[0] * 1000 + time[1] // 1000
    states = [_State(*replies[begin : begin + 4]) for begin in range(0, len(replies), 4)]
    unread = await _ask(
        client,
        [
            ("XRANGE", keys.events(number), f"({state.position}", "+", "COUNT", "1")
            for number, state in zip(numbers, states, strict=True)
        ],
    )
    views = [
        _partition(number, state, entries, now)
        for number, state, entries in zip(numbers, states, unread, strict=True)
    ]
    return Survey(views, sorted(_workers(scores, views, now), key=lambda worker: worker.name))


def _about(keys: Keys, number: int) -> Iterator[tuple[str, ...]]:
    """Yield the commands whose replies are a partition's `_State`."""
    yield "GET", keys.lease(number)
    yield "PTTL", keys.lease(number)
    yield "HGET", keys.partition(number).partition, "cursor"
    yield "XINFO GROUPS", keys.events(number)


async def _ask(client: Client, commands: Sequence[tuple[str, ...]]) -> list[Any]:
    """Return the replies to commands; None for a stream that is not there."""
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        # By their names: redis-py's cluster client has no method for a pipelined TIME.
        pipeline.execute_command(*command)
    replies = await pipeline.execute(raise_on_error=False)
    for place, (command, reply) in enumerate(zip(commands, replies, strict=True)):
        if isinstance(reply, ResponseError):
            if "no such key" not in str(reply):
                raise ResponseError(f"{' '.join(command)}: {reply}")
            replies[place] = None
        elif isinstance(reply, Exception):
            raise reply
    return replies


def _partition(number: int, state: _State, unread: list[Any], now: int) -> PartitionView:
    # The lease may have run out between the two commands.
    owner = None if state.lease_left == _NO_KEY else state.owner
    # An entry's ID begins with the time at which the server took it.
    waits = max(0, now - int(unread[0][0].partition(b"-")[0])) if unread else 0
    return PartitionView(
        number,
        _text(owner),
        _text(state.cursor),
        state.group.get("lag") if unread else 0,
        waits / 1000,
        state.lease_left / 1000 if owner is not None and state.lease_left >= 0 else None,
    )


def _workers(
    scores: list[bytes], partitions: list[PartitionView], now: int
) -> Iterator[WorkerView]:
    """Yield a view of each worker from the flat ``[name, score, …]``."""
    for name, heartbeat in zip(scores[::2], scores[1::2], strict=True):
        worker = name.decode(errors="replace")
        held = [view.number for view in partitions if view.owner == worker]
        age = now - min(max(float(heartbeat), 0.0), now)
        yield WorkerView(worker, age / 1000, held)


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="replace")
