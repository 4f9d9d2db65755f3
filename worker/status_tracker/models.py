"""The structs on the wire and in the keys. Nothing here knows of Redis.

Sizes of numbers, and which of them stay integers, are part of the contract with producers and
dashboards: a number is published as it came, so every numeric field is ``int | float``. Which
kinds there are, and which phases, is data: `rules.py` has them, and `decode.py` makes of them what
refuses an update of another kind or phase.
"""

from typing import Annotated, ClassVar, Literal, final

from msgspec import Meta, Struct, field

TaskPhase = Literal["pending", "waiting", "running", "failed", "completed", "cancelled"]
AssetPhase = Literal["uploading", "waiting", "processing", "ready", "failed", "deleting", "deleted"]
"""The phases of the two kinds that every deployment has unless it says otherwise."""

# Seconds since the epoch are the usual mistake: they lie under 1e11 until the year 5138.
EARLIEST_MS = 100_000_000_000
# The largest integer up to which a double, and so every JSON reader, tells neighbours apart.
LARGEST = 2**53

Timestamp = (
    Annotated[int, Meta(ge=EARLIEST_MS, le=LARGEST)]
    | Annotated[float, Meta(ge=float(EARLIEST_MS), le=float(LARGEST))]
)
"""Milliseconds since the epoch."""

Progress = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0.0, le=1.0)]
"""The share of the work that is done, from 0 to 1."""

Attempt = Annotated[int, Meta(ge=1, le=LARGEST)]
"""Which attempt an update speaks of, as its producer counts them."""

# Length only: `decode.invalid_id` checks the characters, once per id instead of once per event.
EntityId = Annotated[str, Meta(min_length=1, max_length=256)]


class Update(Struct, rename="camel", kw_only=True, frozen=True, gc=False, tag_field="kind", tag=""):
    """What a producer says of an entity; each kind has a struct of its own, with its phases."""

    restart: ClassVar[bool] = False
    """A field of the kinds that count retries: begin again by hand, with the count back at 0."""

    id: EntityId
    phase: str
    updated_at: Timestamp
    progress: Progress | None = None
    error_message: str | None = None
    attempt: Attempt | None = None
    force: bool = False
    """By hand, to a phase that no edge leads to."""


@final
class TaskUpdate(Update, kw_only=True, frozen=True, gc=False, tag="task"):
    """What a producer says of a task, for type checkers."""

    phase: TaskPhase
    updated_at: Timestamp = 0
    """0: filled in when it is sent."""
    restart: bool = False  # type: ignore[misc]  # a constant of the others


@final
class AssetUpdate(Update, kw_only=True, frozen=True, gc=False, tag="asset"):
    """What a producer says of an asset, for type checkers."""

    phase: AssetPhase
    updated_at: Timestamp = 0
    """0: filled in when it is sent."""


class Status(Struct, rename="camel", kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """An entity's current status, as published; the order of the fields is the document's."""

    phase: str
    progress: Progress | None = None
    error_message: str | None = None
    retries: Annotated[int, Meta(ge=0)] | None = None
    """Of a kind that counts them; absent for another."""
    attempt: Attempt | None = None
    """The largest one that was sent."""
    updated_at: Timestamp


class Change(Status, kw_only=True, frozen=True, gc=False):
    """One entry of the change feed: a status as it stood after its entity changed phase."""

    kind: str
    id: str
    from_phase: str | None = field(default=None, name="from")
    """The phase it left; absent when this change created the status."""
    event: str
    """ID of the stream entry that caused it."""
    forced: bool = False
    """Whether only `force` allowed it."""


Reason = Literal[
    "malformed",
    "oversized",
    "invalid",
    "future",
    "corrupt_state",
    "unknown_entity",
    "superseded",
    "stale",
    "illegal_transition",
    "retries_exhausted",
]


@final
class Rejection(Struct, frozen=True, gc=False):
    """Why an entry was not applied."""

    reason: Reason
    detail: str
    """What was wrong and what to change, for the person who runs the producer."""
