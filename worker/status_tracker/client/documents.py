"""What the keys hold, as users get it."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from status_tracker.models import LARGEST, Change, Status

_decode_status = msgspec.json.Decoder(Status).decode
_decode_change = msgspec.json.Decoder(Change).decode


class _Named(Struct, rename="camel"):
    """What an update is about, whatever else is wrong with it."""

    kind: Any = ""
    id: Any = ""
    updated_at: Any = None


_decode_named = msgspec.json.Decoder(_Named).decode

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Page(Struct, frozen=True):
    """Some entities in a phase."""

    statuses: dict[str, Status]
    """Id → status, in the order that was asked for."""
    after: str | None
    """Where the next page begins; None at the end."""
    since: dict[str, int]
    """Id → when it entered the phase, in ms since the epoch."""


class Stalled(Struct, frozen=True):
    """An entity without an update for longer than its limit."""

    status: Status
    since: int
    """When the limit passed, in ms since the epoch."""


class StalledPage(Struct, frozen=True):
    """Some of the entities that are stalled."""

    entities: dict[str, Stalled]
    """By their ids, in the order that was asked for."""
    after: str | None
    """Where the next page begins; None at the end."""


class Found(Struct, frozen=True):
    """Entities whose id fits a pattern."""

    statuses: dict[str, Status]
    """Id → status."""
    complete: bool
    """False where there were more to look at than is looked at."""


class Rejected(Struct, frozen=True):
    """An entry that was not applied."""

    reason: str
    detail: str
    data: bytes
    """The original bytes."""
    stream: str
    id: str
    """The entry's ID in that stream."""
    entry: str
    """What it is called where it is kept: its ID there, in the layout `cluster` after ``<p>/``."""

    @property
    def at(self) -> int:
        """When it was rejected, in ms since the epoch."""
        return int(self.entry.rpartition("/")[2].partition("-")[0])


class Entity(Struct, frozen=True):
    """Of whom an update is, and when it was said, as far as its bytes tell."""

    kind: str
    """"" where it cannot be read."""
    id: str
    updated_at: float | None


class RejectedPage(Struct, frozen=True):
    """Some of the entries that were not applied, by when they were rejected."""

    entries: list[Rejected]
    after: str | None
    """Where the next page begins. Where the oldest come first, there always is one: later there may
    be more. Where the newest come first, None at the end."""


class Snapshot(Struct, frozen=True):
    """All entities of a kind, and the place in the change feed from which on it is kept up."""

    statuses: dict[str, Status]
    """Id → status."""
    token: str
    """For `changes(after=token)`: what changed while it was read is told again."""


def status_in(document: Any) -> Status | None:
    """Return the status in a key; None where there is none, or something else."""
    if document is None or isinstance(document, Exception):
        return None
    try:
        return _decode_status(document)
    except _UNREADABLE:
        return None


def status_of(change: Change) -> Status:
    """Return the status as it stood after a change."""
    return Status(
        phase=change.phase,
        progress=change.progress,
        error_message=change.error_message,
        retries=change.retries,
        attempt=change.attempt,
        updated_at=change.updated_at,
    )


def changes_in(documents: Any) -> list[Change]:
    """Return the changes in a history, without what somebody else put there."""
    found = []
    for document in documents:
        try:
            found.append(_decode_change(document))
        except _UNREADABLE:
            continue
    return found


def rejected_in(entry: str, fields: Mapping[bytes, bytes]) -> Rejected:
    """Return an entry of the rejected stream, by its name."""

    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="backslashreplace")

    return Rejected(
        reason=text(b"reason"),
        detail=text(b"detail"),
        data=fields.get(b"data", b""),
        stream=text(b"stream"),
        id=text(b"id"),
        entry=entry,
    )


def entity_in(data: bytes) -> Entity:
    """Return whom the bytes of an update are about, whatever else is wrong with them."""
    try:
        found = _decode_named(data)
    except _UNREADABLE:
        return Entity("", "", None)
    at = found.updated_at
    is_time = isinstance(at, int | float) and not isinstance(at, bool) and 0 <= at <= LARGEST
    return Entity(
        found.kind if isinstance(found.kind, str) else "",
        found.id if isinstance(found.id, str) else "",
        float(at) if is_time else None,
    )
