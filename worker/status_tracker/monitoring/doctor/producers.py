"""What producers do wrong: keys that nobody reads, updates that are rejected or go astray."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from redis.exceptions import ResponseError

from status_tracker.client.documents import Entity, Rejected, entity_in, rejected_in, status_in
from status_tracker.connection.client import Client, checked
from status_tracker.decode import invalid_id
from status_tracker.keys import Keys, partition_of
from status_tracker.metadata import Deployment
from status_tracker.models import Status
from status_tracker.monitoring.doctor.finding import (
    Checks,
    UnseenError,
    Verdict,
    attempt,
    fail,
    known,
    ok,
    warn,
)
from status_tracker.monitoring.doctor.server import servers_of
from status_tracker.monitoring.fleet import FleetState, ask
from status_tracker.text import decoded, shortened

MOST_KEYS = 100_000
"""Keys of a server that are looked at."""

KEYS_AT_ONCE = 1_000

MOST_STRAY = 100
"""Keys after which nobody needs to find another one."""

MOST_REJECTED = 1_000
"""Rejected entries that are looked at, the last ones."""

REJECTED_AT_ONCE = 50
MOST_BYTES = 8 * 2**20
"""Of rejected entries: each may be as large as an update."""

LATELY = 24 * 3_600_000
"""Milliseconds: what was rejected earlier is known by now."""

LONGEST_ID = 256

MOST_NAMED = 3

FORWARDED = 0.01
FEWEST_FORWARDED = 10
"""The share and the number of forwarded entries from which on a producer is to be mended."""

LATE = frozenset({"stale", "superseded"})
"""Reasons that are nobody's fault: a newer update counts."""


class StrayKey(Struct, frozen=True):
    """A key under the prefix that no deployment has."""

    key: str
    entries: int | None
    """Of a stream."""


class KeysSeen(Struct, frozen=True):
    """The keys under the prefix."""

    stray: Sequence[StrayKey]
    all_seen: bool
    """Whether all keys of all servers were looked at."""


class Rejection(Struct, frozen=True):
    """A rejected entry."""

    at: int
    """When it was rejected, in ms."""
    rejected: Rejected
    entity: Entity

    @property
    def about(self) -> tuple[str, str]:
        """Of whom it is: kind and id."""
        return self.entity.kind, self.entity.id

    @property
    def said_at(self) -> float:
        """When it was said, in ms: by its producer, but not after its entry came."""
        came = self.rejected.id.partition("-")[0]
        times = [float(came)] if came.isdecimal() else []
        if self.entity.updated_at is not None:
            times.append(self.entity.updated_at)
        return min(times, default=0.0)


class RejectionsSeen(Struct, frozen=True):
    """The last rejected entries, the newest first, and the statuses of whom they are about."""

    now: int
    entries: Sequence[Rejection]
    statuses: Mapping[tuple[str, str], Status | None]


class ProducersSeen(Struct, frozen=True):
    """What producers left."""

    deployment: Deployment
    keys: KeysSeen | UnseenError
    rejections: RejectionsSeen | UnseenError
    fleet: FleetState | UnseenError


async def see_producers(
    client: Client, deployment: Deployment, fleet: FleetState | UnseenError
) -> ProducersSeen:
    """Look at what producers left."""
    keys, rejections = await asyncio.gather(
        attempt(_keys(client, deployment)), attempt(_rejections(client, deployment))
    )
    return ProducersSeen(deployment, keys, rejections, fleet)


async def _keys(client: Client, deployment: Deployment) -> KeysSeen:
    keys, stray = deployment.keys, set[str]()
    kinds = _kinds(deployment)
    all_seen = True
    pattern = re.sub(r"([\\*?\[\]^])", r"\\\1", keys.prefix) + ":*"
    for server in (await servers_of(client)).values():
        cursor, looked_at = b"", 0
        while cursor != b"0" and looked_at < MOST_KEYS and len(stray) < MOST_STRAY:
            step = ("SCAN", cursor or "0", "MATCH", pattern, "COUNT", KEYS_AT_ONCE)
            cursor, found = await server.execute(*step)
            looked_at += KEYS_AT_ONCE
            stray |= {
                key
                for key in map(decoded, found)
                if not keys.has(key, partitions=deployment.partitions, kinds=kinds)
            }
        all_seen = all_seen and cursor == b"0"
    return KeysSeen(await _lengths(client, keys, sorted(stray)) if stray else [], all_seen)


def _kinds(deployment: Deployment) -> set[str]:
    """Return the kinds of all revisions: one that was dropped may have left a key."""
    texts = deployment.texts.values()
    return {name for text in texts for name in msgspec.json.decode(text, type=dict[str, Any])}


async def _lengths(client: Client, keys: Keys, stray: Sequence[str]) -> list[StrayKey]:
    """Return the keys with the lengths of streams.

    Those of deployments whose prefix begins with this one's, ``status:eu``, are left out.
    """
    parts = sorted({_part(keys, key) for key in stray})
    metas = [Keys(f"{keys.prefix}:{part}", "single").meta for part in parts]
    there = await ask(client, [("EXISTS", meta) for meta in metas])
    others = {part for part, is_there in zip(parts, there, strict=True) if is_there}
    own = [key for key in stray if _part(keys, key) not in others]
    # A key of another type has no such length.
    replies = await client.execute_all([("XLEN", key) for key in own])
    return [
        StrayKey(key, reply if isinstance(reply, int) else None)
        for key, reply in zip(own, replies, strict=True)
    ]


async def _rejections(client: Client, deployment: Deployment) -> RejectionsSeen:
    streams = list(
        dict.fromkeys(
            deployment.keys.partition(number).rejected for number in range(deployment.partitions)
        )
    )
    entries = [
        entry
        for stream in streams
        for entry in await _last_rejected(
            client, stream, MOST_REJECTED // len(streams) or 1, MOST_BYTES // len(streams)
        )
    ]
    entries.sort(key=lambda entry: entry.at, reverse=True)
    about = list(dict.fromkeys(each.about for each in entries if _can_be(each, deployment)))
    keys = [
        deployment.keys.partition(partition_of(name, deployment.partitions)).status(kind, name)
        for kind, name in about
    ]
    replies = await client.execute_all([("GET", key) for key in keys]) if keys else []
    # A key of another type is what the rejection may be about.
    documents = checked([None if _is_of_another_type(reply) else reply for reply in replies])
    seconds, _ = await client.execute("TIME")
    statuses = dict(zip(about, map(status_in, documents), strict=True))
    return RejectionsSeen(1000 * int(seconds), entries, statuses)


def _is_of_another_type(reply: object) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")


def _can_be(rejection: Rejection, deployment: Deployment) -> bool:
    """Tell whether there can be an entity that an entry is about."""
    entity = rejection.entity
    is_an_id = 0 < len(entity.id) <= LONGEST_ID and invalid_id(entity.id) is None
    return is_an_id and entity.kind in deployment.rules.kinds


async def _last_rejected(client: Client, stream: str, count: int, size: int) -> list[Rejection]:
    """Return the last entries of a stream of rejections, as far as they fit into bytes."""
    entries: list[Rejection] = []
    last = "+"
    while len(entries) < count and size > 0:
        most = min(REJECTED_AT_ONCE, count - len(entries))
        [page] = await ask(client, [("XREVRANGE", stream, last, "-", "COUNT", most)])
        for entry_id, values in page:
            fields = dict(zip(values[::2], values[1::2], strict=True))
            rejected = rejected_in(decoded(entry_id), fields)
            size -= len(rejected.data)
            at = int(entry_id.partition(b"-")[0])
            entries.append(Rejection(at, rejected, entity_in(rejected.data)))
        if len(page) < most:
            break
        last = f"({decoded(page[-1][0])}"
    return entries


def _stray_keys(seen: ProducersSeen) -> Iterator[Verdict]:
    found = known(seen.keys)
    so_far = "" if found.all_seen else f" among the first {MOST_KEYS:,} keys of a server"
    streams = [each for each in found.stray if each.entries]
    unread = [each for each in streams if _part(seen.deployment.keys, each.key) == "events"]
    others = [each.key for each in found.stray if each not in unread]
    if unread:
        yield fail(_unread(seen.deployment, unread), _right_streams(seen.deployment))
    if others:
        named = ", ".join(map(shortened, others[:MOST_NAMED]))
        more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        yield warn(
            f"under the prefix, but none of ours: {named}{more}",
            "move them elsewhere: they may stand in the way of a later release",
        )
    if not found.stray:
        yield ok(f"none that is not ours{so_far}")


def _part(keys: Keys, key: str) -> str:
    return key.removeprefix(f"{keys.prefix}:").split(":")[0]


def _unread(deployment: Deployment, streams: Sequence[StrayKey]) -> str:
    named = ", ".join(
        f"{shortened(each.key)} ({each.entries:,} entr{'y' if each.entries == 1 else 'ies'}"
        f"{_mistake(deployment, each.key)})"
        for each in streams[:MOST_NAMED]
    )
    more = f" and {len(streams) - MOST_NAMED} more" if len(streams) > MOST_NAMED else ""
    return f"nobody reads {named}{more}"


def _mistake(deployment: Deployment, key: str) -> str:
    """Say what is wrong with the key of a stream."""
    number = key.removeprefix(f"{deployment.keys.prefix}:events:")
    if number.isdecimal():
        return ": no braces around the number"
    if re.fullmatch(r"{\d+}", number):
        return f": there are {deployment.partitions} partitions, from 0"
    return ""


def _right_streams(deployment: Deployment) -> str:
    first, last = (deployment.keys.events(each) for each in (0, deployment.partitions - 1))
    return (
        f"mend the producer: the streams are {first} to {last}, the number is crc32(id) % "
        f"{deployment.partitions}; then send again what is in these"
    )


def _rejected(seen: ProducersSeen) -> Iterator[Verdict]:
    found = known(seen.rejections)
    lately = [each for each in found.entries if found.now - each.at < LATELY]
    reasons = Counter(each.rejected.reason for each in lately)
    if not reasons:
        yield ok(f"none in the last day ({len(found.entries):,} kept ones looked at)")
        return
    text = ", ".join(f"{count:,} {shortened(reason)}" for reason, count in reasons.most_common())
    last = lately[0].rejected
    line = f"in the last day {text}; the last one: {shortened(last.detail, 120)}"
    if reasons.keys() <= LATE:
        yield ok(f"{line}; all came late, and a newer update counts")
    else:
        yield warn(
            line,
            "status-tracker rejected list shows them; what mends which is in the page on mending",
        )


def _dropped(seen: ProducersSeen) -> Iterator[Verdict]:
    rejected = known(seen.fleet).rejected
    if rejected.dropped:
        yield warn(
            f"{rejected.dropped:,} rejected entries were dropped, as max_rejected has it",
            "mend what is rejected; rejected purge makes room",
        )
    else:
        yield ok(f"{rejected.kept:,} rejected entries are kept, none was dropped")


def _waiting(seen: ProducersSeen) -> Iterator[Verdict]:
    found = known(seen.rejections)
    waiting = list(waiting_among(found, seen.deployment))
    if not waiting:
        yield ok("none, among those that the last rejected entries are about")
        return
    named = "; ".join(map(_in_words(found), waiting[:MOST_NAMED]))
    more = f"; and {len(waiting) - MOST_NAMED} more" if len(waiting) > MOST_NAMED else ""
    entities = "1 entity waits" if len(waiting) == 1 else f"{len(waiting):,} entities wait"
    yield warn(
        f"{entities} for an update that was rejected: {named}{more}",
        "status-tracker rejected list --each; mend the cause, then rejected replay, or set by hand",
    )


def waiting_among(found: RejectionsSeen, deployment: Deployment) -> Iterator[Rejection]:
    """Yield of each entity that is not settled its last rejection, where that is its last word."""
    looked_at = set()
    for each in found.entries:
        if each.rejected.reason in LATE or each.about not in found.statuses:
            continue
        if each.about not in looked_at and _waits(each, found.statuses[each.about], deployment):
            yield each
        looked_at.add(each.about)


def _waits(rejection: Rejection, status: Status | None, deployment: Deployment) -> bool:
    if status is None:
        return True
    settled = deployment.rules.kinds[rejection.entity.kind].settled
    return status.phase not in settled and rejection.said_at >= status.updated_at


def _in_words(found: RejectionsSeen) -> Callable[[Rejection], str]:
    def said(each: Rejection) -> str:
        status = found.statuses[each.about]
        phase = "has no status" if status is None else f"is {status.phase}"
        who = f"{each.entity.kind} {shortened(each.entity.id, 40)}"
        return f"{who} {phase} ({each.rejected.reason}: {shortened(each.rejected.detail)})"

    return said


def _forwarded(seen: ProducersSeen) -> Iterator[Verdict]:
    totals = [each.totals for each in known(seen.fleet).partitions]
    forwarded = sum(each.forwarded for each in totals)
    read = forwarded + sum(
        each.applied + each.duplicates + sum(each.rejected.values()) for each in totals
    )
    if forwarded >= FEWEST_FORWARDED and forwarded / read > FORWARDED:
        yield warn(
            f"{forwarded:,} of {read:,} entries came to another partition's stream than their id's",
            f"mend the producer: the number is crc32(id as UTF-8) % {seen.deployment.partitions}",
        )
    else:
        yield ok(f"{forwarded:,} of {read:,} entries had to be forwarded")


CHECKS: Checks[ProducersSeen] = {
    "keys": _stray_keys,
    "rejected": _rejected,
    "dropped": _dropped,
    "waiting": _waiting,
    "forwarded": _forwarded,
}
