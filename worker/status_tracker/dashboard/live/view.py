"""What an open page shows, as it says when it asks to be kept up."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from status_tracker.lifecycle import MOST_PHASES
from status_tracker.models import EntityId
from status_tracker.rules import MOST_KINDS

MOST_ROWS = 1_000
"""Entities of one page."""

RegionName = Literal[
    "health", "attention", "kinds", "rates", "workers", "partitions", "phases", "lifecycle"
]


class Region(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a page that is drawn again as a whole."""

    name: RegionName
    kind: str = ""
    phase: str = ""
    """Which tab is open."""


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """An entity whose status is shown."""

    kind: str
    id: EntityId


class Tally(Struct, frozen=True, forbid_unknown_fields=True):
    """How many were ever rejected, when the page was made."""

    reason: str
    """For this reason; "" for any."""
    count: Annotated[int, Meta(ge=0)]


class View(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page."""

    regions: Annotated[list[Region], Meta(max_length=16)] = []
    rows: Annotated[list[Row], Meta(max_length=MOST_ROWS)] = []
    detail: bool = False
    """Whether it is the page of one entity, its only row, and shows all that there is of it."""
    lists: Annotated[list[tuple[str, str]], Meta(max_length=MOST_KINDS * MOST_PHASES)] = []
    """Kind and phase of those whose newcomers are counted."""
    tally: Tally | None = None
    """Of a page that shows what was rejected: what comes on top is counted."""
    after: str = ""
    """The token up to which it was told what changed; "" for none."""
