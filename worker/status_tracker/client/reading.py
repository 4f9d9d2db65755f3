"""The logic of a reader: what dashboards ask. It writes nothing."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from status_tracker.client.documents import (
    Found,
    Page,
    Rejected,
    RejectedPage,
    Snapshot,
    Stalled,
    StalledPage,
    changes_in,
    status_in,
)
from status_tracker.client.feed import (
    Places,
    ends,
    ends_of,
    is_missing,
    token_of,
)
from status_tracker.client.operations import Operation, asked, asked_all, pairs
from status_tracker.client.rejections import entries_of, page_of
from status_tracker.client.site import Site
from status_tracker.client.windows import Cursor, Member, cursor_in, cursor_text, next_members
from status_tracker.connection.client import Command
from status_tracker.keys import PartitionKeys, partition_of
from status_tracker.metadata import Deployment
from status_tracker.models import Change, Status
from status_tracker.rules import Rules
from status_tracker.text import listed

MOST_LOOKED_AT = 100_000
"""Ids that a search looks at."""

SCANNED_AT_ONCE = 1_000

SNAPSHOT_AT_ONCE = 2_000
"""Ids of a snapshot that are read at once."""


class _Listed(NamedTuple):
    """A member of one of several sets."""

    key: str
    member: Member

    @property
    def id(self) -> str:
        return _text(self.member[1])


class Reading:
    """What is asked of the keys."""

    def __init__(self, site: Site, retry_for: float) -> None:
        self._site = site
        self._within = retry_for

    def get(
        self, kind: str, entity_id: str, within: float | None = None
    ) -> Operation[Status | None]:
        """Return the status of an entity; None where it has none."""
        deployment = yield from self._site.get()
        if kind not in deployment.rules.kinds:
            deployment = yield from self._of_kind(kind)
        own = deployment.keys.partition(partition_of(entity_id, deployment.partitions))
        # Unlike GET, it has no value for a key that holds something else.
        command = ("MGET", own.status(kind, entity_id))
        [document] = yield from asked(command, self._within if within is None else within)
        return status_in(document)

    def get_many(self, kind: str, ids: Iterable[str]) -> Operation[dict[str, Status | None]]:
        """Return the statuses of entities, by one MGET for all that share a slot."""
        deployment = yield from self._site.get()
        if kind not in deployment.rules.kinds:
            deployment = yield from self._of_kind(kind)
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        if deployment.keys.layout == "single":
            prefix = deployment.keys.partition(0).status(kind, "")
            keys = [prefix + each for each in wanted]
            documents = yield from asked(("MGET", *keys), self._within)
            return dict(zip(wanted, map(status_in, documents), strict=True))
        by_partition: dict[int, list[str]] = defaultdict(list)
        for each in wanted:
            by_partition[partition_of(each, deployment.partitions)].append(each)
        commands: list[Command] = []
        for number, some in by_partition.items():
            own = deployment.keys.partition(number)
            commands.append(("MGET", *(own.status(kind, each) for each in some)))
        replies = yield from asked_all(commands, self._within)
        found: dict[str, Status | None] = dict.fromkeys(wanted)
        for some, documents in zip(by_partition.values(), replies, strict=True):
            found |= zip(some, map(status_in, documents), strict=True)
        return found

    def page(
        self, kind: str, phase: str, *, newest: bool, limit: int, after: str | None
    ) -> Operation[Page]:
        """Return entities in a phase, by when they entered it."""
        deployment = yield from self._of_kind(kind, (phase,))
        keys = [own.phase(kind, phase) for own in _all_own(deployment)]
        members, after = yield from self._merged(keys, newest=newest, limit=limit, after=after)
        statuses = yield from self.get_many(kind, [each.id for each in members])
        # Who left the phase meanwhile is not in it.
        there = {each: at for each, at in statuses.items() if at is not None and at.phase == phase}
        since = {each.id: int(each.member[0]) for each in members if each.id in there}
        return Page(there, after, since)

    def stalled(
        self, kind: str, *, newest: bool, limit: int, after: str | None
    ) -> Operation[StalledPage]:
        """Return entities that are stalled, by when their limits passed."""
        deployment = yield from self._of_kind(kind)
        keys = [own.stalled(kind) for own in _all_own(deployment)]
        members, after = yield from self._merged(keys, newest=newest, limit=limit, after=after)
        statuses = yield from self.get_many(kind, [each.id for each in members])
        # A mark goes with the next update. What has it still, after the status was read, has had no
        # update meanwhile: so the status is the one that is stalled.
        looks: list[Command] = [("ZSCORE", each.key, each.member[1]) for each in members]
        marks = yield from asked_all(looks, self._within)
        entities: dict[str, Stalled] = {}
        for each, mark in zip(members, marks, strict=True):
            status, since = statuses[each.id], each.member[0]
            if status is not None and mark is not None and float(mark) == since:
                entities[each.id] = Stalled(status, int(since))
        return StalledPage(entities, after)

    def _merged(
        self, keys: list[str], *, newest: bool, limit: int, after: str | None
    ) -> Operation[tuple[list[_Listed], str | None]]:
        """Return a page of the members of several sets, and where the next one begins."""
        _check_limit(limit)
        cursor = cursor_in(after, len(keys))
        last = cursor.last if cursor else None
        ranks = cursor.ranks if cursor else [0] * len(keys)
        parts = []
        for number, key in enumerate(keys):
            members, ranks[number] = yield from next_members(
                key, last, ranks[number], limit, newest=newest, within=self._within
            )
            parts.append([(member, number) for member in members])
        merged = list(heapq.merge(*parts, reverse=newest))
        for _, number in merged[:limit]:
            ranks[number] += 1
        page = [_Listed(keys[number], member) for member, number in merged[:limit]]
        more = len(merged) >= limit
        return page, cursor_text(Cursor(page[-1].member, ranks)) if more else None

    def stalled_since(self, kind: str, ids: Iterable[str]) -> Operation[dict[str, int]]:
        """Return since when entities are stalled, in ms; those that are not, are not in it."""
        deployment = yield from self._of_kind(kind)
        by_key: dict[str, list[str]] = defaultdict(list)
        for each in dict.fromkeys(ids):
            own = deployment.keys.partition(partition_of(each, deployment.partitions))
            by_key[own.stalled(kind)].append(each)
        commands: list[Command] = [("ZMSCORE", key, *some) for key, some in by_key.items()]
        replies = yield from asked_all(commands, self._within)
        return {
            each: int(float(mark))
            for some, marks in zip(by_key.values(), replies, strict=True)
            for each, mark in zip(some, marks, strict=True)
            if mark is not None
        }

    def find(
        self, kind: str, pattern: str, *, phase: str | None, limit: int | None
    ) -> Operation[Found]:
        """Return entities whose id fits a pattern, as Redis knows them: ``exp*``."""
        deployment = yield from self._of_kind(kind, () if phase is None else (phase,))
        if limit is not None:
            _check_limit(limit)
        phases = deployment.rules.kinds[kind].phases if phase is None else (phase,)
        sets = [own.phase(kind, each) for own in _all_own(deployment) for each in phases]
        sizes = yield from asked_all([("ZCARD", key) for key in sets], self._within)
        ids: dict[str, None] = {}
        room = MOST_LOOKED_AT
        for key, size in zip(sets, sizes, strict=True):
            cursor = None if size else b"0"
            while cursor != b"0" and room > 0:
                scan = ("ZSCAN", key, cursor or 0, "MATCH", pattern, "COUNT", SCANNED_AT_ONCE)
                cursor, members = yield from asked(scan, self._within)
                ids |= dict.fromkeys(map(_text, members[::2]))
                room -= min(size, SCANNED_AT_ONCE)
                if limit is not None and len(ids) > limit:
                    room = 0
            if cursor != b"0":
                break
        statuses = yield from self.get_many(kind, islice(ids, limit))
        there = {
            each: status
            for each, status in statuses.items()
            if status is not None and phase in (None, status.phase)
        }
        return Found(there, complete=cursor == b"0" and len(ids) == len(statuses))

    def counts(self, kind: str) -> Operation[dict[str, int]]:
        """Return how many entities are in each phase, in the order of the rules."""
        deployment = yield from self._of_kind(kind)
        commands: list[Command] = [("HGETALL", own.counts(kind)) for own in _all_own(deployment)]
        replies = yield from asked_all(commands, self._within)
        hashes = [pairs(reply) for reply in replies]
        return {
            phase: sum(int(found.get(phase.encode(), 0)) for found in hashes)
            for phase in deployment.rules.kinds[kind].phases
        }

    def history(self, kind: str, entity_id: str) -> Operation[list[Change]]:
        """Return the last changes of an entity, the newest first, as many as the rules keep."""
        deployment = yield from self._of_kind(kind)
        own = deployment.keys.partition(partition_of(entity_id, deployment.partitions))
        documents = yield from asked(("LRANGE", own.history(kind, entity_id), 0, -1), self._within)
        return changes_in(documents)

    def rejected(
        self, *, reason: str | None, newest: bool, limit: int, after: str | None
    ) -> Operation[RejectedPage]:
        """Return entries that were not applied, by when they were rejected."""
        _check_limit(limit)
        deployment = yield from self._site.get()
        return (
            yield from page_of(
                deployment,
                reason=reason,
                newest=newest,
                limit=limit,
                after=after,
                within=self._within,
            )
        )

    def rejected_entries(self, names: Iterable[str]) -> Operation[dict[str, Rejected | None]]:
        """Return entries that were not applied by their names; None for what is not kept."""
        deployment = yield from self._site.get()
        return (yield from entries_of(deployment, names, self._within))

    def rules(self) -> Operation[Rules]:
        """Return the rules in force."""
        return (yield from self._site.latest()).rules

    def snapshot(self, kind: str) -> Operation[Snapshot]:
        """Return all entities of a kind, and from where on the feed tells what changed.

        Who moves while it is read may be missing, or old; the feed tells of it.
        """
        deployment = yield from self._of_kind(kind)
        places = yield from self.feed_ends()
        statuses: dict[str, Status | None] = {}
        for own in _all_own(deployment):
            for phase in deployment.rules.kinds[kind].phases:
                last, rank = None, 0
                while True:
                    members, rank = yield from next_members(
                        own.phase(kind, phase),
                        last,
                        rank,
                        SNAPSHOT_AT_ONCE,
                        newest=False,
                        within=self._within,
                    )
                    if not members:
                        break
                    last, rank = members[-1], rank + len(members) - 1
                    ids = [_text(name) for _, name in members]
                    statuses |= yield from self.get_many(kind, ids)
        there = {each: status for each, status in statuses.items() if status is not None}
        return Snapshot(there, token_of(places.values()))

    def feed(self) -> Operation[list[str]]:
        """Return the streams of the change feed."""
        deployment = yield from self._site.get()
        return _once(own.changes for own in _all_own(deployment))

    def feed_end(self) -> Operation[str]:
        """Return the token of where the change feed ends now."""
        return token_of((yield from self.feed_ends()).values())

    def feed_ends(self, within: float | None = None) -> Operation[Places]:
        """Return where the change feed ends now."""
        streams = yield from self.feed()
        commands = ends_of(streams)
        replies = yield commands
        for place, reply in enumerate(replies):
            if isinstance(reply, Exception) and not is_missing(reply):
                wait = self._within if within is None else within
                replies[place] = yield from asked(commands[place], wait)
        return ends(streams, replies)

    def ends_of_wait(self, kind: str, until: str | Iterable[str]) -> Operation[frozenset[str]]:
        """Return the phases in which a wait ends; raises ValueError for what is none."""
        if until == "settled":
            deployment = yield from self._of_kind(kind)
            return deployment.rules.kinds[kind].settled
        phases = (until,) if isinstance(until, str) else tuple(until)
        if not phases:
            raise ValueError('until: write "settled", or phases')
        yield from self._of_kind(kind, phases)
        return frozenset(phases)

    def _of_kind(self, kind: str, phases: Sequence[str] = ()) -> Operation[Deployment]:
        """Return the deployment; raises ValueError where it has no such kind or phases."""
        deployment = yield from self._site.latest()
        if _wrong(deployment, kind, phases):
            deployment = yield from self._site.read()
        wrong = _wrong(deployment, kind, phases)
        if wrong:
            raise ValueError(wrong)
        return deployment


def _wrong(deployment: Deployment, kind: str, phases: Sequence[str]) -> str | None:
    kinds = deployment.rules.kinds
    if kind not in kinds:
        return f"kind: {kind}; must be {listed(kinds)}"
    for phase in phases:
        if phase not in kinds[kind].phases:
            return f"phase: {phase}; must be {listed(kinds[kind].phases)}"
    return None


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise ValueError(f"limit: {limit}; must be at least 1")


def _all_own(deployment: Deployment) -> list[PartitionKeys]:
    """Return the keys of all partitions; of one, where all have the same."""
    count = deployment.partitions if deployment.keys.layout == "cluster" else 1
    return [deployment.keys.partition(number) for number in range(count)]


def _once(streams: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(streams))


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
