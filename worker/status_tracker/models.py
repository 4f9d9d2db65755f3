"""The structs on the wire and in the keys. Nothing here knows of Redis.

Sizes of numbers, and which of them stay integers, are part of the contract with producers and
dashboards: a number is published as it came, so every numeric field is ``int | float``.
"""

from typing import Annotated, Literal, final, get_args

from msgspec import Meta, Struct, field

Kind = Literal["task", "asset"]

TaskPhase = Literal["pending", "waiting", "running", "failed", "completed", "cancelled"]
AssetPhase = Literal["uploading", "waiting", "processing", "ready", "failed", "deleting", "deleted"]

# Seconds since the epoch are the usual mistake: they lie under 1e11 until the year 5138.
EARLIEST_MS = 100_000_000_000
# The largest integer up to which a double, and so every JSON reader, tells neighbours apart.
LATEST_MS = 2**53

Timestamp = (
    Annotated[int, Meta(ge=EARLIEST_MS, le=LATEST_MS)]
    | Annotated[float, Meta(ge=float(EARLIEST_MS), le=float(LATEST_MS))]
)
"""Milliseconds since the epoch."""

Progress = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0.0, le=1.0)]
"""The share of the work that is done, from 0 to 1."""

# Length only: `decode.invalid_id` checks the characters, once per id instead of once per event.
EntityId = Annotated[str, Meta(min_length=1, max_length=256)]


@final
class TaskUpdate(Struct, tag="task", tag_field="kind", rename="camel", frozen=True, gc=False):
    """What a producer says of a task."""

    id: EntityId
    phase: TaskPhase
    updated_at: Timestamp
    progress: Progress | None = None
    error_message: str | None = None
    restart: bool = False


@final
class AssetUpdate(Struct, tag="asset", tag_field="kind", rename="camel", frozen=True, gc=False):
    """What a producer says of an asset."""

    id: EntityId
    phase: AssetPhase
    updated_at: Timestamp
    progress: Progress | None = None
    error_message: str | None = None


Update = TaskUpdate | AssetUpdate


class TaskStatus(Struct, rename="camel", kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """A task's current status, as published; the order of the fields is the document's."""

    phase: TaskPhase
    progress: Progress | None = None
    error_message: str | None = None
    retries: Annotated[int, Meta(ge=0)]
    updated_at: Timestamp


class AssetStatus(Struct, rename="camel", kw_only=True, omit_defaults=True, frozen=True, gc=False):
    """An asset's current status, as published; the order of the fields is the document's."""

    phase: AssetPhase
    progress: Progress | None = None
    error_message: str | None = None
    updated_at: Timestamp


Status = TaskStatus | AssetStatus


class TaskChange(TaskStatus, tag="task", tag_field="kind", kw_only=True, frozen=True, gc=False):
    """One entry of the change feed: a task's status as it stood after it changed phase."""

    id: str
    from_phase: str | None = field(default=None, name="from")
    """The phase it left; absent when this change created the status."""
    event: str
    """ID of the stream entry that caused it."""


class AssetChange(AssetStatus, tag="asset", tag_field="kind", kw_only=True, frozen=True, gc=False):
    """One entry of the change feed: an asset's status as it stood after it changed phase."""

    id: str
    from_phase: str | None = field(default=None, name="from")
    """The phase it left; absent when this change created the status."""
    event: str
    """ID of the stream entry that caused it."""


Change = TaskChange | AssetChange

Reason = Literal[
    "malformed",
    "oversized",
    "invalid",
    "future",
    "corrupt_state",
    "unknown_entity",
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


PHASES: dict[Kind, tuple[str, ...]] = {"task": get_args(TaskPhase), "asset": get_args(AssetPhase)}
"""The phases of each kind, in the order in which people read them."""
