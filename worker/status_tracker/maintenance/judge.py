"""What is wrong with an entity, by what its keys hold. Pure: no I/O.

A status is what counts: the index, the marks and the history are judged by it, and what can only be
one thing by it can be mended.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from status_tracker.client.documents import changes_in, status_in
from status_tracker.decode import invalid_id
from status_tracker.keys import PartitionKeys, partition_of
from status_tracker.metadata import Deployment
from status_tracker.models import EARLIEST_MS, Change, Status
from status_tracker.text import decoded, shortened

What = Literal[
    "missing_entry",
    "entry_elsewhere",
    "entry_without_status",
    "wrong_score",
    "wrong_count",
    "wrong_mark",
    "history_without_status",
    "history_differs",
    "no_status",
    "unknown_phase",
    "unknown_kind",
    "misplaced",
    "wrong_type",
]
"""The kinds of differences; docs/operating/mending.md says what each is and what mends it."""


class Entity(NamedTuple):
    """Whose keys are looked at."""

    own: PartitionKeys
    """The keys of the partition in whose place they are."""
    kind: str
    id: str
    """Bytes that are no text are surrogates in it."""

    @property
    def status(self) -> bytes:
        """The key of its status."""
        return raw(self.own.status(self.kind, self.id))

    @property
    def history(self) -> bytes:
        """The key of its history."""
        return raw(self.own.history(self.kind, self.id))


class OtherType(Struct, frozen=True):
    """What a key of another type has in the place of what belongs there."""

    name: str


Held = bytes | OtherType | None


class Seen(Struct, frozen=True, kw_only=True):
    """What the keys of an entity hold, as far as it is asked for."""

    document: Held
    """Its status."""
    scores: Mapping[str, bytes | None] = {}
    """Phase → its score in that phase's set."""
    newest: Held = None
    """The newest change in its history."""
    mark: bytes | None = None
    """Its score among the stalled."""


class Place(Struct, frozen=True):
    """What makes an entity's place in one sorted set right."""

    phase: str | None
    """Whose set it is; None for the marks."""
    wanted: str | None
    """The score; None to take the entity out."""


DROP_HISTORY: Literal["drop the history"] = "drop the history"

Mend = Place | Literal["drop the history"]
"""What makes one thing right."""


class Difference(Struct, frozen=True):
    """One thing that does not agree with the rest."""

    what: What
    kind: str
    id: str
    detail: str
    """In words."""
    mend: Mend | None = None


def raw(text: str) -> bytes:
    """Return text as the server has it, whatever bytes it came from."""
    return text.encode(errors="surrogateescape")


def readable(document: Held) -> Status | None:
    """Return the status in a document; None where there is none that can be read."""
    return status_in(document) if isinstance(document, bytes) else None


class Judge:
    """Judges entities by the rules in force."""

    def __init__(self, deployment: Deployment) -> None:
        self._rules = deployment.rules
        self._partitions = deployment.partitions
        self._layout = deployment.keys.layout
        self._trusts_histories = _always_kept_since(deployment)

    def status(self, entity: Entity, seen: Seen) -> Iterator[Difference]:
        """Yield what is wrong with a status, its place in the index and its newest change."""
        if seen.document is None:
            return
        status = readable(seen.document)
        lifecycle = self._rules.kinds.get(entity.kind)
        if lifecycle is None:
            # What is no status belongs to somebody else, as far as can be told.
            if status is not None:
                yield _difference("unknown_kind", entity, "the rules have no such kind")
            return
        misplaced = self._misplaced(entity)
        if misplaced:
            yield _difference("misplaced", entity, misplaced)
        elif isinstance(seen.document, OtherType):
            detail = f"{entity.status.decode()} holds a {seen.document.name}"
            yield _difference("wrong_type", entity, detail)
        elif status is None:
            detail = f"the key holds no status: {shortened(decoded(seen.document), 40)}"
            yield _difference("no_status", entity, detail)
        elif status.phase not in lifecycle.phases:
            detail = f"the rules have no phase {shortened(status.phase, 40)}"
            yield _difference("unknown_phase", entity, detail)
        else:
            wrong = self._history_problem(entity, status, seen.newest)
            if wrong is not None:
                yield wrong
            newest = None if wrong is not None else self._change(seen.newest)
            # Of a set that is not there to be read, as its key holds another type, nothing is said.
            if status.phase in seen.scores:
                yield from self._place(entity, status, seen.scores[status.phase], newest)

    def entry(self, entity: Entity, seen: Seen, phase: str) -> Iterator[Difference]:
        """Yield what is wrong with being in the set of a phase at all."""
        if seen.scores.get(phase) is None:
            return
        status = readable(seen.document)
        out = Place(phase, None)
        if seen.document is None:
            detail = f"in {entity.own.phase(entity.kind, phase)}, but there is no status"
            yield _difference("entry_without_status", entity, detail, out)
        elif status is not None and status.phase != phase:
            detail = (
                f"in {entity.own.phase(entity.kind, phase)}, but the status says "
                f"{shortened(status.phase, 40)}"
            )
            yield _difference("entry_elsewhere", entity, detail, out)

    def mark(self, entity: Entity, seen: Seen) -> Iterator[Difference]:
        """Yield what is wrong with counting as stalled."""
        if seen.mark is None:
            return
        status = readable(seen.document)
        lifecycle = self._rules.kinds.get(entity.kind)
        out = Place(None, None)
        if seen.document is None:
            yield _difference("wrong_mark", entity, "marked, but there is no status", out)
        elif status is not None and lifecycle is not None and status.phase not in lifecycle.stalled:
            detail = f"marked, but {shortened(status.phase, 40)} has no limit"
            yield _difference("wrong_mark", entity, detail, out)

    def history(self, entity: Entity, seen: Seen) -> Iterator[Difference]:
        """Yield what is wrong with having a history at all."""
        if seen.document is not None or seen.newest is None:
            return
        if isinstance(seen.newest, OtherType):
            detail = f"{entity.history.decode(errors='replace')} holds a {seen.newest.name}"
            yield _difference("wrong_type", entity, detail)
            return
        detail = "a history, but there is no status"
        # Of a kind that the rules do not have, nothing is known.
        mend = DROP_HISTORY if entity.kind in self._rules.kinds else None
        yield _difference("history_without_status", entity, detail, mend)

    def _misplaced(self, entity: Entity) -> str | None:
        """Say why no update ever comes to an entity of that name in this place."""
        try:
            entity.id.encode()
        except UnicodeEncodeError:
            return "the id is no text"
        refused = invalid_id(entity.id)
        if refused is not None:
            return refused.detail
        home = partition_of(entity.id, self._partitions)
        if self._layout == "cluster" and entity.own.tagged != home:
            return f"{entity.status.decode()}: the id belongs to partition {home}"
        return None

    def _place(
        self, entity: Entity, status: Status, score: bytes | None, newest: Change | None
    ) -> Iterator[Difference]:
        """Yield what is wrong with a status's place in the set of its phase."""
        known = status if newest is None else newest
        mend = Place(status.phase, str(known.updated_at))
        key = entity.own.phase(entity.kind, status.phase)
        if score is None:
            yield _difference("missing_entry", entity, f"{status.phase}, but not in {key}", mend)
        elif newest is not None and float(score) != newest.updated_at:
            detail = f"{score.decode()} in {key}, but it entered at {newest.updated_at}"
            yield _difference("wrong_score", entity, detail, mend)
        elif not EARLIEST_MS <= float(score) <= status.updated_at:
            detail = f"{score.decode()} in {key}, but updatedAt is {status.updated_at}"
            yield _difference("wrong_score", entity, detail, mend)

    def _history_problem(self, entity: Entity, status: Status, held: Held) -> Difference | None:
        """Return what is wrong with a history beside the status."""
        if isinstance(held, OtherType):
            detail = f"{entity.history.decode()} holds a {held.name}"
            return _difference("wrong_type", entity, detail)
        if held is None or not self._trusts_histories:
            return None
        newest = self._change(held)
        detail = ""
        if newest is None:
            detail = f"the newest change is none: {shortened(decoded(held), 40)}"
        elif (newest.kind, newest.id) != (entity.kind, entity.id):
            detail = f"the newest change is of {newest.kind} {newest.id}"
        elif newest.phase != status.phase:
            detail = f"the newest change is to {newest.phase}, but the status says {status.phase}"
        elif newest.updated_at > status.updated_at:
            detail = f"the newest change is of {newest.updated_at}, after {status.updated_at}"
        return _difference("history_differs", entity, detail) if detail else None

    def _change(self, held: Held) -> Change | None:
        """Return the last change of an entity, as far as its history can tell."""
        trusted = isinstance(held, bytes) and self._trusts_histories
        return next(iter(changes_in([held])), None) if trusted else None


def _difference(what: What, entity: Entity, detail: str, mend: Mend | None = None) -> Difference:
    return Difference(what, entity.kind, decoded(raw(entity.id)), detail, mend)


class _Kept(Struct):
    """How many changes rules keep."""

    history: int = 0


_decode_kept = msgspec.json.Decoder(_Kept).decode


def _always_kept_since(deployment: Deployment) -> bool:
    """Tell whether histories, once they were kept, were kept in every revision since.

    Else the newest change in one may not be its entity's last.
    """
    kept = []
    for revision in range(1, deployment.revision + 1):
        text = deployment.texts.get(revision)
        if text is None:
            return False
        kept.append(_decode_kept(text).history > 0)
    return kept == sorted(kept) and kept[-1]
