"""One look at a deployment: who owns which partition, and how far behind each one is.

It only reads keys, so it can be taken at any time, by anybody who may read them.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from msgspec import Struct
from redis.exceptions import ResponseError

from status_tracker.connection.client import Client, Command
from status_tracker.keys import GROUP, Keys
from status_tracker.metadata import Deployment
from status_tracker.text import decoded

_NO_KEY = -2
"""What PTTL says where nothing is."""

_ENTRY_ID = re.compile(r"\d+-\d+")

_REJECTED = b"rejected:"
"""What stands before a reason in the name of a field."""


class Totals(Struct, frozen=True):
    """What became of a partition's entries, since its hash was created."""

    applied: int = 0
    duplicates: int = 0
    forwarded: int = 0
    rejected: dict[str, int] = {}
    """Reason → how many."""
    lost: int = 0
    """Entries that somebody trimmed or deleted before they were read."""
    epoch: int = 0
    """How often the stream was replaced by one whose IDs may be smaller."""


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
    totals: Totals = Totals()
    revision: int | None = None
    """Of the rules that it goes by; None where no worker has read it yet."""

    @property
    def is_cursor_an_id(self) -> bool:
        """Whether a worker could read on from the cursor."""
        return self.cursor is None or _ENTRY_ID.fullmatch(self.cursor) is not None


class WorkerState(Struct, frozen=True):
    """What the keys say about a worker."""

    name: str
    heartbeat_age: float
    """Seconds since its last heartbeat, by the server's clock."""
    partitions: list[int]


class RejectedState(Struct, frozen=True):
    """How many entries were rejected, of all partitions."""

    kept: int
    """Entries that can be looked at."""
    dropped: int
    """Entries that are gone, as `max_rejected` has it."""


class FleetState(Struct, frozen=True):
    """What the keys say at one moment."""

    partitions: list[PartitionState]
    workers: list[WorkerState]
    rejected: RejectedState
    revision: int
    """Of the rules in force."""


class _Replies(Struct):
    """The replies about one partition."""

    owner: bytes | None
    lease_left: int
    flat: list[bytes]
    """The partition's hash: ``[field, value, …]``"""
    groups: list[list[Any]] | None
    """``[[field, value, …], …]``"""

    @property
    def fields(self) -> dict[bytes, bytes]:
        """The partition's hash."""
        return dict(zip(self.flat[::2], self.flat[1::2], strict=True))

    @property
    def group(self) -> dict[bytes, Any]:
        """The group that is kept in step with the cursor; empty where it is missing."""
        groups = (dict(zip(each[::2], each[1::2], strict=True)) for each in self.groups or ())
        return next((group for group in groups if group[b"name"] == GROUP.encode()), {})

    @property
    def cursor(self) -> bytes | None:
        """The ID of the last entry applied, if the hash has one."""
        return self.fields.get(b"cursor")

    @property
    def dropped(self) -> int:
        """How many rejected entries the cap dropped."""
        return _number(self.fields.get(b"rejected_dropped"))

    @property
    def totals(self) -> Totals:
        """What became of the entries."""
        fields = self.fields
        rejected = {
            decoded(field.removeprefix(_REJECTED)): _number(fields[field])
            for field in sorted(fields)
            if field.startswith(_REJECTED)
        }
        return Totals(
            applied=_number(fields.get(b"applied")),
            duplicates=_number(fields.get(b"duplicates")),
            forwarded=_number(fields.get(b"forwarded")),
            rejected=rejected,
            lost=_number(fields.get(b"lost")),
            epoch=_number(fields.get(b"epoch")),
        )

    @property
    def position(self) -> str:
        """Where a worker would read on: as `attach.lua` finds it where the hash is lost."""
        if self.cursor is not None and _ENTRY_ID.fullmatch(decoded(self.cursor)):
            return decoded(self.cursor)
        if self.group.get(b"entries-read") is None:
            return "0-0"
        return decoded(self.group[b"last-delivered-id"])


async def read_fleet(client: Client, deployment: Deployment) -> FleetState:
    """Look at all partitions and workers, in three round trips.

    The workers are read before the leases and after them: one that joins notes that it lives before
    it takes a lease, and one that leaves had noted it. So an owner that is in neither is none.

    Raises one of `UNAVAILABLE`; where a key is of another type, the error names it.
    """
    keys, numbers = deployment.keys, range(deployment.partitions)
    heartbeats = ("ZRANGE", keys.workers, "0", "-1", "WITHSCORES")
    time, before = await ask(client, [("TIME",), heartbeats])
    now = int(time[0]) * 1000 + int(time[1]) // 1000
    replies = await ask(client, list(chain.from_iterable(_about(keys, each) for each in numbers)))
    found = [_Replies(*replies[begin : begin + 4]) for begin in range(0, len(replies), 4)]
    rejected = list(dict.fromkeys(keys.partition(number).rejected for number in numbers))
    after, *replies = await ask(
        client,
        [
            heartbeats,
            *(("XLEN", stream) for stream in rejected),
            *(
                ("XRANGE", keys.events(number), f"({each.position}", "+", "COUNT", "1")
                for number, each in zip(numbers, found, strict=True)
            ),
        ],
    )
    kept, unread = replies[: len(rejected)], replies[len(rejected) :]
    states = [
        _partition(number, each, entries, now)
        for number, each, entries in zip(numbers, found, unread, strict=True)
    ]
    return FleetState(
        states,
        list(_workers(_scores(before) | _scores(after), states, now)),
        RejectedState(sum(kept), sum(each.dropped for each in found)),
        deployment.revision,
    )


def _about(keys: Keys, number: int) -> Iterator[Command]:
    """Yield the commands whose replies are a partition's `_Replies`."""
    yield "GET", keys.lease(number)
    yield "PTTL", keys.lease(number)
    yield "HGETALL", keys.partition(number).partition
    yield "XINFO", "GROUPS", keys.events(number)


async def ask(client: Client, commands: Sequence[Command]) -> list[Any]:
    """Return the replies to commands; None for a stream that is not there.

    Raises one of `UNAVAILABLE`, which names the command that the server refuses.
    """
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
        replies.totals,
        _number(replies.fields.get(b"revision")) or None,
    )


def _scores(reply: list[bytes]) -> dict[str, float]:
    """Return when each worker was last heard of, from the flat ``[name, score, …]``."""
    return dict(zip(map(decoded, reply[::2]), map(float, reply[1::2]), strict=True))


def _workers(
    scores: Mapping[str, float], partitions: list[PartitionState], now: int
) -> Iterator[WorkerState]:
    """Yield the state of each worker, by name."""
    held: dict[str | None, list[int]] = defaultdict(list)
    for state in partitions:
        held[state.owner].append(state.number)
    for name, heartbeat in sorted(scores.items()):
        age = now - min(max(heartbeat, 0.0), now)
        yield WorkerState(name, age / 1000, held.get(name, []))


def _number(raw: bytes | None) -> int:
    """Return a count; 0 where there is none, or somebody wrote something else."""
    return int(raw) if raw and re.fullmatch(rb"\d{1,18}", raw) else 0


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else decoded(raw)
