"""Looking whether all keys of a deployment agree, while its workers run; and mending them.

What is read in several steps may not agree, for somebody committed in between. So whoever seems
to be wrong is looked at again, in one step, and only that counts. In the layout `single` all
partitions share the index; so what is cut into steps is not the partitions but the keys: each
status once, each member of each set once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from msgspec import Struct, field

from status_tracker.connection.client import Client, checked
from status_tracker.keys import KeyName, Keys, PartitionKeys
from status_tracker.lifecycle import Lifecycle
from status_tracker.lua.recount import recount
from status_tracker.lua.sizes import sizes
from status_tracker.maintenance.judge import Difference, Entity, Held, Judge, Seen, What, readable
from status_tracker.maintenance.keyspace import Keyspace
from status_tracker.maintenance.repair import Finding, mend
from status_tracker.metadata import Deployment, read_deployment, read_revision
from status_tracker.text import decoded

EXAMPLES = 10
"""Differences of each kind that are told one by one."""

LOOKS = 5
"""Times that an entity is looked at because it moved before it could be mended."""

MOST_TOLD = 100_000
"""Differences that are remembered, for a scan may come to a key twice. Beyond, both count."""

MOST_OTHERS = 10_000
"""Names that are remembered of what could be a kind, and is none: they are others' keys."""

Judged = Callable[[Judge, Entity, Seen], Iterable[Difference]]
"""Yields what is wrong with an entity, of what is looked at."""


class Example(Struct, frozen=True):
    """One difference: of whom, and what it is in words."""

    kind: str
    id: str
    """Or the phase of a count, or a key."""
    detail: str


class Tally(Struct):
    """How much there is of one kind of differences."""

    found: int = 0
    mended: int = 0
    examples: list[Example] = field(default_factory=list)


class Report(Struct):
    """What was looked at, and what does not agree."""

    statuses: int = 0
    entries: int = 0
    """Members of the sets of ids in a phase."""
    marks: int = 0
    histories: int = 0
    differences: dict[What, Tally] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """How many differences are still there."""
        return sum(tally.found - tally.mended for tally in self.differences.values())


class Verification:
    """One look at all keys; what is found goes into a report as it is found."""

    def __init__(
        self,
        client: Client,
        deployment: Deployment,
        report: Report,
        *,
        repair: bool,
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> None:
        """Look at a deployment, and tell of the progress: how much was done, of about how much."""
        self._report = report
        self._client = client
        self._deployment = deployment
        self._keyspace = Keyspace(client, deployment)
        self._judge = Judge(deployment)
        self._repair = repair
        self._progress = progress
        self._total = 0
        self._told: set[int] = set()
        # Keys that hold another type: nothing can be said of what should be in them.
        self._foreign: set[str] = set()
        # Whether a kind that the rules do not have is the end of another deployment's prefix.
        self._others: dict[str, bool] = {}

    async def run(self) -> None:
        """Look at all keys; raises one of `UNAVAILABLE`, and `ConfigError`."""
        await self._check_types()
        await self._check_counts()
        await self._check_keys()
        await self._check_entries()
        await self._check_marks()

    async def _check_types(self) -> None:
        wanted: dict[str, bytes] = {}
        for own, kind, lifecycle in self._kinds():
            wanted |= {own.counts(kind): b"hash", own.stalled(kind): b"zset"}
            wanted |= {own.phase(kind, phase): b"zset" for phase in lifecycle.phases}
        found = checked(await self._client.execute_all([("TYPE", key) for key in wanted]))
        for key, is_ in zip(wanted, found, strict=True):
            if is_ not in (wanted[key], b"none"):
                self._foreign.add(key)
                self._tell(Difference("wrong_type", "", key, f"the key holds a {is_.decode()}"))

    async def _check_counts(self) -> None:
        for own, kind, lifecycle in self._kinds():
            counts, phases = own.counts(kind), self._phases(own, kind, lifecycle)
            if counts in self._foreign or not phases:
                continue
            found = await sizes(self._client, counts=counts, phases=phases)
            self._total += 2 * sum(size for _, size in found.values())
            wrong = {phase: each for phase, each in found.items() if _is_wrong(*each)}
            if wrong and self._repair:
                some = {phase: phases[phase] for phase in wrong}
                await recount(self._client, counts=counts, phases=some)
            for phase, (count, size) in wrong.items():
                said = "no count" if count is None else f"the count is {decoded(count)}"
                detail = f"{said}, but {size} are in {phases[phase]}"
                self._tell(Difference("wrong_count", kind, phase, detail), mended=self._repair)

    async def _check_keys(self) -> None:
        """Look at statuses, histories, and whatever else has a name like theirs."""
        async for page in self._keyspace.names():
            found: dict[str, list[Entity]] = {"status": [], "history": []}
            for named in page:
                if not await self._is_ours(named.kind):
                    continue
                if named.what == "phase":
                    await self._check_set(named)
                else:
                    found[named.what].append(self._keyspace.entity(named))
            for some in self._keyspace.cut(found["status"]):
                await self._check_statuses(some)
            for some in self._keyspace.cut(found["history"]):
                suspects = await self._keyspace.without_status(some)
                await self._look_again(suspects, Judge.history)
                self._report.histories += len(some)

    async def _is_ours(self, kind: str) -> bool:
        if kind in self._deployment.rules.kinds:
            return True
        if kind not in self._others:
            if len(self._others) == MOST_OTHERS:
                self._others.clear()
            longer = Keys(f"{self._deployment.keys.prefix}:{kind}", "single")
            self._others[kind] = await self._client.execute("EXISTS", longer.meta) == 1
        return not self._others[kind]

    async def _check_set(self, named: KeyName) -> None:
        """Look at the name of a set of ids."""
        key = self._keyspace.entity(named).own.phase(named.kind, named.name)
        lifecycle = self._deployment.rules.kinds.get(named.kind)
        if lifecycle is not None and named.name in lifecycle.phases:
            return
        await self._keep_up()
        lifecycle = self._deployment.rules.kinds.get(named.kind)
        if lifecycle is None:
            self._tell(Difference("unknown_kind", named.kind, key, "the rules have no such kind"))
        elif named.name not in lifecycle.phases:
            self._tell(Difference("unknown_phase", named.kind, key, "the rules have no such phase"))

    async def _check_statuses(self, entities: Sequence[Entity]) -> None:
        documents = await self._keyspace.documents(entities)
        phases = [status.phase if (status := readable(each)) else "" for each in documents]
        scores = await self._keyspace.scores(entities, phases)
        changes: Sequence[Held] = [None] * len(entities)
        if self._deployment.rules.history:
            changes = await self._keyspace.newest(entities)
        suspects = []
        for entity, document, phase, score, change in zip(
            entities, documents, phases, scores, changes, strict=True
        ):
            seen = Seen(document=document, scores={phase: score}, newest=change)
            if document is None or any(True for _ in self._judge.status(entity, seen)):
                suspects.append(entity)
        await self._look_again(suspects, Judge.status)
        self._report.statuses += sum(map(bool, phases))
        self._advance()

    async def _check_entries(self) -> None:
        """Look whether each id in the index has a status that says this phase."""
        for own, kind, lifecycle in self._kinds():
            for phase, key in self._phases(own, kind, lifecycle).items():
                async for page in self._keyspace.members(own, kind, key):
                    entities = [entity for entity, _ in page]
                    documents = await self._keyspace.documents(entities)
                    suspects = [
                        entity
                        for entity, document in zip(entities, documents, strict=True)
                        if (status := readable(document)) is None or status.phase != phase
                    ]
                    await self._look_again(suspects, partial(Judge.entry, phase=phase))
                    self._report.entries += len(entities)
                    self._advance()

    async def _check_marks(self) -> None:
        for own, kind, _ in self._kinds():
            if own.stalled(kind) in self._foreign:
                continue
            async for page in self._keyspace.members(own, kind, own.stalled(kind)):
                documents = await self._keyspace.documents([entity for entity, _ in page])
                suspects = []
                for (entity, mark), document in zip(page, documents, strict=True):
                    seen = Seen(document=document, mark=mark)
                    if any(True for _ in self._judge.mark(entity, seen)):
                        suspects.append(entity)
                await self._look_again(suspects, Judge.mark)
                self._report.marks += len(page)

    async def _look_again(self, suspects: Sequence[Entity], judged: Judged) -> None:
        """Tell of what is wrong with entities as one step shows each, and mend it."""
        moved: list[Finding] = []
        for _ in range(LOOKS):
            if not suspects:
                return
            await self._keep_up()
            seen = await self._keyspace.examine(suspects, self._deployment.rules)
            findings = [
                Finding(entity, held, difference)
                for entity, held in zip(suspects, seen, strict=True)
                for difference in judged(self._judge, entity, held)
            ]
            moved = await self._settle(findings)
            suspects = [each.entity for each in moved]
        for each in moved:
            self._tell(each.difference, each.entity)

    async def _settle(self, findings: Sequence[Finding]) -> list[Finding]:
        """Mend what can be mended, and tell; return those that moved before they were mended."""
        to_mend = []
        for each in findings:
            if self._repair and each.difference.mend is not None:
                to_mend.append(each)
            else:
                self._tell(each.difference, each.entity)
        moved = []
        for each, done in zip(to_mend, await mend(self._client, to_mend), strict=True):
            if done:
                self._tell(each.difference, each.entity, mended=True)
            else:
                moved.append(each)
        return moved

    async def _keep_up(self) -> None:
        """Go by newer rules where there are some: kinds and phases may have come."""
        keys = self._deployment.keys
        _, revision = await read_revision(self._client, keys)
        if revision != str(self._deployment.revision):
            self._deployment = await read_deployment(self._client, keys.prefix)
            self._judge = Judge(self._deployment)

    def _tell(
        self, difference: Difference, entity: Entity | None = None, *, mended: bool = False
    ) -> None:
        """Count a difference, unless a scan came to it before."""
        place = entity.own.partition if entity else difference.detail
        told = hash((difference.what, difference.kind, difference.id, difference.mend, place))
        if told in self._told:
            return
        if len(self._told) < MOST_TOLD:
            self._told.add(told)
        tally = self._report.differences.setdefault(difference.what, Tally())
        tally.found += 1
        tally.mended += mended
        if len(tally.examples) < EXAMPLES:
            tally.examples.append(Example(difference.kind, difference.id, difference.detail))

    def _kinds(self) -> Iterator[tuple[PartitionKeys, str, Lifecycle]]:
        for own in self._keyspace.owns:
            for kind, lifecycle in self._deployment.rules.kinds.items():
                yield own, kind, lifecycle

    def _phases(self, own: PartitionKeys, kind: str, lifecycle: Lifecycle) -> dict[str, str]:
        """Return the set of each phase, without those whose key holds another type."""
        sets = {phase: own.phase(kind, phase) for phase in lifecycle.phases}
        return {phase: key for phase, key in sets.items() if key not in self._foreign}

    def _advance(self) -> None:
        self._progress(self._report.statuses + self._report.entries, self._total)


def _is_wrong(count: bytes | None, size: int) -> bool:
    return count != str(size).encode() and not (count is None and size == 0)
