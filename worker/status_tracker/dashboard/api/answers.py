"""What is asked and answered over HTTP, as structs; the OpenAPI document comes from them."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from status_tracker.lifecycle import Edge, Lifecycle
from status_tracker.models import Change, EntityId, Status

MOST_LISTED = 1_000
"""Entities or entries on a page."""

LONGEST_WAIT = 60.0
"""Seconds for which a request waits for an entity."""

MOST_SENT = 10_000
"""Updates, ids or entries of one request."""

Limit = Annotated[int, Meta(ge=1, le=MOST_LISTED)]
Kind = Annotated[str, Meta(description="A kind of the deployment's rules.")]
After = Annotated[str, Meta(description="Where the page begins: `after` of the one before.")]
Order = Annotated[Literal["newest", "oldest"], Meta(description="Which comes first.")]


class Query(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No parameters."""


class OfEntity(Query, frozen=True, kw_only=True):
    """Which entity is meant."""

    kind: Kind
    id: EntityId


class OfWait(OfEntity, frozen=True, kw_only=True):
    """What is waited for."""

    until: Annotated[
        str, Meta(description="`settled`, or phases with commas between them.", min_length=1)
    ] = "settled"
    timeout: Annotated[float, Meta(ge=0, le=LONGEST_WAIT, description="Seconds.")] = 30.0


class OfPage(Query, frozen=True, kw_only=True):
    """Which page is meant."""

    phase: str
    order: Order = "newest"
    after: After | None = None
    limit: Limit = 100


class OfStalled(Query, frozen=True, kw_only=True):
    """Which page is meant, of the entities without an update for too long."""

    kind: Kind
    order: Order = "newest"
    after: After | None = None
    limit: Limit = 100


class OfRejected(Query, frozen=True, kw_only=True):
    """Which page is meant, of the entries that were not applied."""

    reason: str | None = None
    order: Order = "oldest"
    after: After | None = None
    limit: Limit = 100


class OfChanges(Query, frozen=True, kw_only=True):
    """From where on the feed is told."""

    after: Annotated[str, Meta(description="A token of the feed; without one, from now on.")] = ""


class KindInfo(Struct, frozen=True, rename="camel"):
    """A kind, and what its entities go through."""

    kind: str
    phases: list[str]
    """All of them, in the order in which people read them."""
    initial: list[str]
    settled: list[str]
    success: list[str]
    terminal: list[str]
    max_retries: int | None
    """None for a kind that counts no retries."""
    edges: dict[str, dict[str, Edge]]
    """From → to → what the step means."""
    stalled: dict[str, int]
    """Phase → ms that an entity in it may be without an update."""
    on_stalled: str | None
    retention: dict[str, int]
    """Phase → ms after entering it until an entity is taken away."""

    @classmethod
    def of(cls, kind: str, life: Lifecycle) -> "KindInfo":
        """Return what the rules say of a kind."""

        def ordered(some: frozenset[str]) -> list[str]:
            return [phase for phase in life.phases if phase in some]

        return cls(
            kind=kind,
            phases=list(life.phases),
            initial=ordered(life.initial),
            settled=ordered(life.settled),
            success=ordered(life.success),
            terminal=ordered(life.terminal),
            max_retries=life.max_retries,
            edges={start: dict(ends) for start, ends in life.edges.items()},
            stalled={phase: int(ms) for phase, ms in life.stalled.items()},
            on_stalled=life.on_stalled,
            retention={phase: int(ms) for phase, ms in life.retention.items()},
        )


class Kinds(Struct, frozen=True):
    """The kinds of the rules in force."""

    kinds: list[KindInfo]


class Counts(Struct, frozen=True):
    """How many entities are in each phase, in the order of the rules."""

    kind: str
    counts: dict[str, int]


class Entity(Struct, frozen=True):
    """An entity and its status."""

    kind: str
    id: str
    status: Status


class Listed(Struct, frozen=True):
    """An entity on a page."""

    id: str
    status: Status
    since: int
    """When it entered the phase, or when its limit passed; ms since the epoch."""


class Entities(Struct, frozen=True):
    """Some entities."""

    kind: str
    entities: list[Listed]
    after: str | None
    """Where the next page begins; null at the end."""


class HistoryOf(Struct, frozen=True):
    """The last changes of an entity, the newest first, as many as the rules keep."""

    kind: str
    id: str
    changes: list[Change]


class Waited(Struct, frozen=True):
    """What came of a wait."""

    kind: str
    id: str
    reached: bool
    """False where the time was up."""
    status: Status | None
    """As it is now; null where there is none."""


class RejectedEntry(Struct, frozen=True, rename="camel"):
    """An entry that was not applied."""

    entry: str
    """What it is called."""
    rejected_at: int
    kind: str
    """Of whom it is, as far as that can be read."""
    id: str
    reason: str
    detail: str
    stream: str
    event: str
    """The entry's ID in that stream."""
    data: str
    r"""The original bytes; what is no text, as ``\xff``."""


class RejectedEntries(Struct, frozen=True):
    """Entries that were not applied, by when they were rejected."""

    entries: list[RejectedEntry]
    after: str | None
    """Where the next page begins. Where the oldest come first, there always is one: later there may
    be more. Where the newest come first, null at the end."""


class Sent(Struct, frozen=True):
    """How many updates or ids were taken; what becomes of them, the feed tells."""

    accepted: int


class Left(Struct, frozen=True):
    """An entry that was not sent again."""

    entry: str
    detail: str


class Replayed(Struct, frozen=True):
    """What was sent again; it stays among the rejected entries."""

    sent: list[str]
    left: list[Left]


class Foreseen(Struct, frozen=True):
    """What an entry would do if it were sent again now."""

    entry: str
    outcome: Literal["applied", "duplicate", "rejected", "left"]
    detail: str
    """The status where it would be applied, or why it would not be."""


class DryRun(Struct, frozen=True):
    """What entries would do, one after the other, the oldest first. Nothing was sent."""

    entries: list[Foreseen]


class Purged(Struct, frozen=True):
    """How many entries were taken away; others were gone already."""

    purged: int


class ToRemove(Struct, frozen=True, forbid_unknown_fields=True):
    """Entities to take away."""

    kind: Kind
    ids: Annotated[list[EntityId], Meta(min_length=1, max_length=MOST_SENT)]


Entries = Annotated[list[str], Meta(min_length=1, max_length=MOST_LISTED)]


class ToReplay(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Rejected entries to send again, the oldest first, in whatever order they are named."""

    entries: Entries
    dry_run: bool = False
    """Whether to say only what each would do."""


class ToPurge(Struct, frozen=True, forbid_unknown_fields=True):
    """Rejected entries to take away from where they are kept."""

    entries: Entries


class Problem(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What went wrong, as RFC 9457 has it; the status says which type it is of."""

    title: str
    status: int
    detail: str
    field: str | None = None
    """The field or parameter to change."""
    accepted: int | None = None
    """Of many updates, how many were taken before the one that was refused."""
    may_have_been_removed: bool | None = None
