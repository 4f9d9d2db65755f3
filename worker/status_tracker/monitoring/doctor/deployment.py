"""Whether the partitions of a deployment are read, and their keys as a worker leaves them."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from msgspec import Struct

from status_tracker.connection.client import Client
from status_tracker.keys import GROUP
from status_tracker.metadata import Deployment
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
from status_tracker.monitoring.fleet import FleetState, ask, read_fleet
from status_tracker.monitoring.health import MaxLag, Trouble, notes_of, problems_of
from status_tracker.text import decoded

MOST_NAMED = 3
"""Partitions that are named in a line."""

AHEAD = 60_000
"""Milliseconds by which the last ID of a stream may be ahead: a producer's clock may be."""

FAR_AHEAD = 3_600_000
"""Milliseconds from which on the owner of a partition recreates its stream once it is drained."""

_LAST_MS = 2**64 - 1
_ASKED = 4
"""Commands about each stream."""


class StreamSeen(Struct, frozen=True):
    """A partition's stream beside its cursor."""

    number: int
    key: str
    cursor: str | None
    """The cursor; None also where it moved meanwhile."""
    group: dict[bytes, Any]
    """What XINFO says of the group; empty where there is none."""
    last: str | None
    """Its last ID; None where there is no stream."""


class StalledSeen(Struct, frozen=True):
    """The stalled entities of a kind."""

    kind: str
    count: int
    example: str


class DeploymentSeen(Struct, frozen=True):
    """What the keys say."""

    deployment: Deployment
    lease_ttl: float
    """Seconds."""
    max_lag: MaxLag
    fleet: FleetState | UnseenError
    streams: Sequence[StreamSeen] | UnseenError
    now: int | UnseenError
    """The server's clock in ms."""
    stalled: Sequence[StalledSeen] | UnseenError

    def troubles(self, *about: str) -> list[Trouble]:
        """Return what is not right in partitions; raises `UnseenError`."""
        fleet = known(self.fleet)
        problems = problems_of(fleet, self.max_lag, lease_ttl=self.lease_ttl)
        return [each for each in chain(problems, notes_of(fleet)) if each.about in about]


async def see_deployment(
    client: Client, deployment: Deployment, *, lease_ttl: float, max_lag: MaxLag
) -> DeploymentSeen:
    """Look at a deployment; `lease_ttl` in seconds."""
    # All at once: a node that hangs is waited for by each.
    fleet, streams, now, stalled = await asyncio.gather(
        attempt(read_fleet(client, deployment)),
        attempt(_streams(client, deployment)),
        attempt(_now(client)),
        attempt(_stalled(client, deployment)),
    )
    return DeploymentSeen(deployment, lease_ttl, max_lag, fleet, streams, now, stalled)


async def _now(client: Client) -> int:
    seconds, microseconds = await client.execute("TIME")
    return 1000 * int(seconds) + int(microseconds) // 1000


async def _streams(client: Client, deployment: Deployment) -> list[StreamSeen]:
    owns = [deployment.keys.partition(number) for number in range(deployment.partitions)]
    commands = [
        command
        for own in owns
        for command in (
            ("HGET", own.partition, "cursor"),
            ("XINFO", "GROUPS", own.events),
            ("XINFO", "STREAM", own.events),
            ("HGET", own.partition, "cursor"),
        )
    ]
    replies = await ask(client, commands)
    return [
        _stream(number, own.events, replies[_ASKED * number : _ASKED * (number + 1)])
        for number, own in enumerate(owns)
    ]


def _stream(number: int, key: str, replies: Sequence[Any]) -> StreamSeen:
    before, groups, stream, after = replies
    fields = [dict(zip(each[::2], each[1::2], strict=True)) for each in groups or ()]
    group = next((each for each in fields if each[b"name"] == GROUP.encode()), {})
    last = dict(zip(stream[::2], stream[1::2], strict=True)) if stream else {}
    return StreamSeen(
        number,
        key,
        decoded(after) if after and before == after else None,
        group,
        decoded(last[b"last-generated-id"]) if last else None,
    )


async def _stalled(client: Client, deployment: Deployment) -> list[StalledSeen]:
    numbers = range(deployment.partitions)
    found = []
    for kind in deployment.rules.kinds:
        sets = sorted({deployment.keys.partition(number).stalled(kind) for number in numbers})
        sizes = await ask(client, [("ZCARD", each) for each in sets])
        longest = next((key for key, size in zip(sets, sizes, strict=True) if size), None)
        if longest is not None:
            [first] = await ask(client, [("ZRANGE", longest, "0", "0")])
            found.append(StalledSeen(kind, sum(sizes), decoded(first[0]) if first else ""))
    return found


def _owners(seen: DeploymentSeen) -> Iterator[Verdict]:
    troubles = seen.troubles("owner")
    if troubles:
        mend = "start a worker; where one runs, its log says why it does not take it"
        yield fail(_in_a_line(troubles), mend)
        return
    fleet = known(seen.fleet)
    workers = len(fleet.workers)
    yield ok(f"{len(fleet.partitions)} partitions, {workers} worker{'' if workers == 1 else 's'}")


def _leases(seen: DeploymentSeen) -> Iterator[Verdict]:
    troubles = seen.troubles("lease")
    if troubles:
        yield fail(_in_a_line(troubles), troubles[0].mend)
        return
    ttl = seen.lease_ttl
    for each in known(seen.fleet).partitions:
        if each.lease_left is not None and each.lease_left > ttl:
            yield warn(
                f"the lease of partition {each.number} runs for {each.lease_left:,.0f} s more, "
                f"which is longer than lease_ttl ({ttl:g} s)",
                "give all workers, and doctor, the same lease_ttl",
            )
            return
    yield ok("each is of a worker that lives")


def _cursors(seen: DeploymentSeen) -> Iterator[Verdict]:
    troubles = seen.troubles("cursor")
    if troubles:
        yield fail(_in_a_line(troubles), troubles[0].mend)
    else:
        yield ok("each is the ID of an entry")


def _lag(seen: DeploymentSeen) -> Iterator[Verdict]:
    troubles = seen.troubles("lag")
    if troubles:
        mend = "see that its owner works, and whether its load is too much for one worker"
        yield warn(_in_a_line(troubles), mend)
    else:
        longest = max(each.lag_seconds for each in known(seen.fleet).partitions)
        yield ok(f"the oldest unread entry waits for {longest:,.1f} s")


def _lost(seen: DeploymentSeen) -> Iterator[Verdict]:
    troubles = seen.troubles("lost")
    if troubles:
        hashed = seen.deployment.keys.partition(0).partition
        mend = f"{troubles[0].mend}; HDEL {hashed} lost takes the count of partition 0 away"
        yield warn(_in_a_line(troubles), mend)
    else:
        yield ok("no entry went before it was read")


def _revision(seen: DeploymentSeen) -> Iterator[Verdict]:
    troubles = seen.troubles("rules")
    if troubles:
        yield warn(_in_a_line(troubles), f"{troubles[0].mend}; look again in some seconds")
    else:
        yield ok(f"revision {known(seen.fleet).revision} everywhere")


def _groups(seen: DeploymentSeen) -> Iterator[Verdict]:
    troubles = [each for each in map(_out_of_step, known(seen.streams)) if each]
    if troubles:
        mend = f"leave {GROUP} alone: where a worker runs, it sets the group within seconds"
        yield fail(_in_a_line(troubles), mend)
    readers = [each for each in known(seen.streams) if each.group.get(b"consumers")]
    if readers:
        mend = f"give that program a group of its own: {GROUP} only mirrors the cursor"
        yield warn(f"somebody reads {readers[0].key} by XREADGROUP as {GROUP}", mend)
    if not troubles and not readers:
        yield ok("in step with the cursors")


def _out_of_step(stream: StreamSeen) -> Trouble | None:
    """Say why a group is not at its partition's cursor; nothing while the cursor moves."""
    if stream.cursor is None or stream.last is None:
        return None
    if not stream.group:
        return Trouble("cursor", f"{stream.key} has no group {GROUP}")
    if stream.group.get(b"entries-read") is None:
        return Trouble("cursor", f"{stream.key} has a group {GROUP} that no worker made")
    at = decoded(stream.group[b"last-delivered-id"])
    if at != stream.cursor:
        found = f"the group of {stream.key} stands at {at}, the cursor at {stream.cursor}"
        return Trouble("cursor", found)
    return None


def _last_ids(seen: DeploymentSeen) -> Iterator[Verdict]:
    now = known(seen.now)
    ahead = [(_ms(each.last) - now, each) for each in known(seen.streams)]
    most, stream = max(ahead, key=lambda each: each[0])
    mend = "let producers add entries with the ID *"
    if most > FAR_AHEAD:
        what = f"{most / 3_600_000:,.0f} h ahead of the server's clock"
        if _ms(stream.last) == _LAST_MS:
            what = "the last that there can be"
        recreated = "its owner recreates the stream once all of it is read"
        yield fail(f"the last ID of {stream.key}, {stream.last}, is {what}: {recreated}", mend)
    elif most > AHEAD:
        what = f"{most / 1000:,.0f} s ahead of the server's clock"
        yield warn(f"the last ID of {stream.key}, {stream.last}, is {what}", mend)
    else:
        yield ok("none is ahead of the server's clock")


def _stalled_marks(seen: DeploymentSeen) -> Iterator[Verdict]:
    found = known(seen.stalled)
    if found:
        counts = ", ".join(f"{each.count:,} {each.kind}" for each in found)
        first = found[0]
        yield warn(
            f"without an update for longer than their limit: {counts}; {first.kind} "
            f"{first.example}, say",
            "see what became of their work; an update takes the mark away",
        )
    else:
        yield ok("no entity")


CHECKS: Checks[DeploymentSeen] = {
    "owners": _owners,
    "leases": _leases,
    "cursors": _cursors,
    "groups": _groups,
    "last IDs": _last_ids,
    "lag": _lag,
    "lost": _lost,
    "rules": _revision,
    "stalled": _stalled_marks,
}


def _in_a_line(troubles: Sequence[Trouble]) -> str:
    named = "; ".join(each.found for each in troubles[:MOST_NAMED])
    more = len(troubles) - MOST_NAMED
    return f"{named}; and {more} more" if more > 0 else named


def _ms(entry_id: str | None) -> int:
    """Return the time in an ID; 0 where there is none."""
    text = (entry_id or "").partition("-")[0]
    return int(text) if text.isdecimal() else 0
