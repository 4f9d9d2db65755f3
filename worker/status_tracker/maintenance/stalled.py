"""Marking what is without an update for longer than its limit, or ending it by an update.

    phase index ──who entered long ago──▶ status: when did its last update come?
                                            ├──▶ too long ago: mark it
                                            └──▶ else: look again when its limit may have passed

An entity is judged by its owner, who knows when updates came; and only once all that came before
its limit passed is applied.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import inf, nextafter
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, field

from status_tracker.connection.client import UNAVAILABLE, Client
from status_tracker.engine.heard import Heard
from status_tracker.keys import partition_of
from status_tracker.lua.mark import mark
from status_tracker.lua.page import BEGINNING, Place
from status_tracker.maintenance.agenda import Agenda, Entity
from status_tracker.maintenance.index import PAGE, Share, pages, shares, statuses
from status_tracker.maintenance.marks import learn
from status_tracker.maintenance.upkeep import tenth
from status_tracker.metadata import Deployment
from status_tracker.models import Status
from status_tracker.units import Milliseconds, written

AT_ONCE = 1_000
"""Entities that are judged in one step."""

MOST_PAGES = 4
"""Of one set in a look."""

LONGEST_PAUSE = 30.0
"""Seconds between two looks at most; else a tenth of the shortest limit."""

UNTIL_ALL_IS_KNOWN = 1.0
"""Seconds between two looks while partitions are taken over."""

_encode = msgspec.json.Encoder().encode


class _Look(NamedTuple):
    """What one look is about."""

    deployment: Deployment
    owned: Mapping[int, Heard]
    share: Share
    now: int


class _Phase(NamedTuple):
    """The set of a phase that has a limit."""

    kind: str
    key: str
    limit: Milliseconds


class _Stalled(Struct):
    """Whose limit has passed in one partition, and what is to be done about it."""

    entities: dict[Entity, Milliseconds] = field(default_factory=dict)
    """All of them, with their limits."""
    deadline: float = 0
    """When the last one of the limits passed."""
    marks: defaultdict[str, list[tuple[float, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """By kind, ids with the time at which their limit passed."""
    updates: list[str] = field(default_factory=list)


class Stalled:
    """Judges the entities of this worker's partitions."""

    name: str = "stalled"

    def __init__(
        self,
        client: Client,
        deployment: Callable[[], Deployment],
        owned: Callable[[], Mapping[int, Heard]],
        *,
        owner: str,
    ) -> None:
        """`owner` is what the leases say of this worker; "" where there are none."""
        self._client = client
        self._deployment = deployment
        self._owned = owned
        self._owner = owner
        # By the number of the partition.
        self._agendas: dict[int, Agenda] = {}
        # Of a set and a partition: in which era, up to which place it was gone through.
        self._seen: dict[tuple[str, int], tuple[object, Place]] = {}

    @property
    def pause(self) -> float:
        """Seconds until the next look, where nothing is left to do."""
        owned = self._owned().values()
        if not owned or any(each.since is None or each.marks is None for each in owned):
            return UNTIL_ALL_IS_KNOWN
        limits = (time for each in self._limits().values() for time in each.values())
        return tenth(limits, longest=LONGEST_PAUSE)

    def _limits(self) -> Mapping[str, Mapping[str, Milliseconds]]:
        kinds = self._deployment().rules.kinds
        return {kind: each.stalled for kind, each in kinds.items() if each.stalled}

    async def look(self, now: int) -> bool:
        """Judge whose limit may have passed, by a time in ms; tell whether there may be more."""
        deployment, owned, limits = self._deployment(), self._owned(), self._limits()
        for number in self._agendas.keys() - owned.keys():
            del self._agendas[number]
        for number in owned.keys() - self._agendas.keys():
            self._agendas[number] = Agenda(owned[number].awaited)
        more = False
        failure: Exception | None = None
        for share in shares(deployment, owned):
            try:
                more |= await self._look_at(_Look(deployment, owned, share, now), limits)
            except UNAVAILABLE as error:
                failure = error  # it may be one node, and is nothing to the others
        if failure is not None:
            raise failure
        return more

    async def _look_at(self, look: _Look, limits: Mapping[str, Mapping[str, Milliseconds]]) -> bool:
        """Judge those of one share."""
        await learn(self._client, look.deployment, look.share, look.owned)
        shortest = min([time for each in limits.values() for time in each.values()], default=0)
        for number in look.share.numbers:
            heard = look.owned[number]
            heard.since = look.now if heard.since is None else heard.since
            heard.horizon = look.now - shortest
            self._take_up(number, heard, look.now)
        more = False
        for kind, of_kind in limits.items():
            for phase, limit in of_kind.items():
                of_phase = _Phase(kind, look.share.own.phase(kind, phase), limit)
                more |= await self._go_through(look, of_phase)
        for number in look.share.numbers:
            more |= await self._judge_due(look, number)
        return more

    async def _judge_due(self, look: _Look, number: int) -> bool:
        """Judge who is to be looked at by now; tell whether there may be more."""
        due = self._agendas[number].take(look.now, AT_ONCE)
        try:
            await self._judge(look, due)
        except BaseException:
            for entity in due:
                self._agenda_of(entity).add(look.now, entity)
            raise
        return len(due) == AT_ONCE

    def _agenda_of(self, entity: Entity) -> Agenda:
        return self._agendas[entity.number]

    def _take_up(self, number: int, heard: Heard, now: int) -> None:
        """Have those looked at whose place in the index was gone through; forget who ended."""
        agenda = self._agendas[number]
        for kind, ids in heard.ended.items():
            for each in ids:
                agenda.discard(Entity(number, kind, each))
        heard.ended.clear()
        again = [Entity(number, kind, each) for kind, ids in heard.again.items() for each in ids]
        heard.again.clear()
        for entity in again:
            agenda.add(now, entity)

    async def _go_through(self, look: _Look, phase: _Phase) -> bool:
        """Judge who entered a phase so long ago that its limit may have passed since the last look.

        After a take-over, nobody's limit passes before a whole one. Tell whether there may be more.
        """
        until = float(look.now - phase.limit)
        groups: dict[Place, set[int]] = defaultdict(set)
        for number in look.share.numbers:
            heard = look.owned[number]
            if heard.since is not None and heard.since <= until:
                era, seen = self._seen.get((phase.key, number), (None, BEGINNING))
                groups[seen if era is heard.era else BEGINNING].add(number)
        more = False
        for seen, numbers in groups.items():
            eras = {number: look.owned[number].era for number in numbers}
            reached = await self._judge_after(look, phase, numbers, seen)
            more |= reached.score <= until
            for number, era in eras.items():
                self._seen[phase.key, number] = era, reached
        return more

    async def _judge_after(
        self, look: _Look, phase: _Phase, numbers: set[int], seen: Place
    ) -> Place:
        """Judge who stands behind what the last look saw; return up to where that is done."""
        until = float(look.now - phase.limit)
        done = 0
        async for page in pages(self._client, phase.key, after=seen, until=until):
            homes = [
                (partition_of(each, look.deployment.partitions), each) for each, _ in page.members
            ]
            ours = [Entity(number, phase.kind, e) for number, e in homes if number in numbers]
            await self._judge(look, ours)
            done += 1
            if done == MOST_PAGES and len(page.members) == PAGE:
                return page.last
        # Who enters it later with an earlier score is in `Heard.again`.
        return Place(nextafter(until, inf), b"")

    async def _judge(self, look: _Look, entities: Sequence[Entity]) -> None:
        """Mark those whose limit has passed; have the others looked at when it may have."""
        cursors = {number: heard.cursor for number, heard in look.owned.items()}
        wanted = [(each.kind, each.id) for each in entities]
        held = await statuses(self._client, look.share.own, wanted)
        stalled: dict[int, _Stalled] = defaultdict(_Stalled)
        for entity in entities:
            status = held[entity.kind, entity.id]
            if status is not None:
                self._weigh(look, entity, status, stalled)
        for number, found in stalled.items():
            done = await self._mark(look, number, cursors[number], found)
            for entity, limit in found.entities.items():
                if not done:
                    self._agenda_of(entity).add(look.now, entity)
                elif look.deployment.rules.kinds[entity.kind].on_stalled is not None:
                    # Should the update come to nothing, another one is added.
                    self._agenda_of(entity).add(look.now + limit, entity)

    def _weigh(
        self, look: _Look, entity: Entity, status: Status, stalled: dict[int, _Stalled]
    ) -> None:
        """Tell whether an entity's limit has passed, and what follows."""
        heard, lifecycle = look.owned[entity.number], look.deployment.rules.kinds.get(entity.kind)
        limit = None if lifecycle is None else lifecycle.stalled.get(status.phase)
        if lifecycle is None or limit is None or heard.since is None or heard.marks is None:
            return
        came = heard.late[entity.kind].get(entity.id, 0)
        passes = max(status.updated_at, came, heard.since) + limit
        if passes > look.now:
            self._agenda_of(entity).add(passes, entity)
            return
        is_marked = (
            entity.id in heard.marks.get(entity.kind, ())
            and entity.id not in heard.doubted[entity.kind]
        )
        if lifecycle.on_stalled is None and is_marked:
            return
        found = stalled[entity.number]
        found.entities[entity] = limit
        found.deadline = max(found.deadline, passes)
        if lifecycle.on_stalled is None:
            found.marks[entity.kind].append((passes, entity.id))
        else:
            found.updates.append(_ending(entity, status, limit, lifecycle.on_stalled))

    async def _mark(self, look: _Look, number: int, cursor: str, found: _Stalled) -> bool:
        """Mark entities, or add their updates; tell whether that was done.

        It is not where something that came in time may not be applied yet.
        """
        own, heard = look.deployment.keys.partition(number), look.owned[number]
        marks = heard.marks
        # A commit that is on its way would not clear the marks; one that is made later will. And
        # after an outage the partition is first to find out that there was one.
        if marks is None or heard.is_unsure:
            return False
        ids = {kind: {each for _, each in some} for kind, some in found.marks.items()}
        for kind, some in ids.items():
            marks.setdefault(kind, set()).update(some)
            heard.doubted[kind] |= some
        done = await mark(
            self._client,
            partition=own.partition,
            events=own.events,
            lease=look.deployment.keys.lease(number),
            owner=self._owner,
            cursor=cursor,
            deadline=found.deadline,
            marks={own.stalled(kind): some for kind, some in found.marks.items()},
            updates=found.updates,
        )
        if done:
            for kind, some in ids.items():
                heard.doubted[kind] -= some
        return done


def _ending(entity: Entity, status: Status, limit: Milliseconds, phase: str) -> str:
    """Return the update that an entity gets whose limit has passed."""
    update: dict[str, Any] = {
        "kind": entity.kind,
        "id": entity.id,
        "phase": phase,
        "updatedAt": status.updated_at + limit,
        "errorMessage": f"no update for {written(limit)} while {status.phase}",
    }
    if status.attempt is not None:
        update["attempt"] = status.attempt
    return _encode(update).decode()
