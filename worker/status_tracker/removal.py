"""Between which entities are taken away and the value of an entry's field `remove`. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from status_tracker.decode import invalid_id
from status_tracker.errors import UpdateError
from status_tracker.keys import NAME_PATTERN, PARTS, partition_of
from status_tracker.models import EntityId, Rejection, Status, Timestamp

MOST = 1_000
"""Entities that one entry takes away."""

AT_ONCE = 250
"""Entities that the tracker itself puts into one entry: all of them go in one commit,
which takes the server some 3 ms."""

_FORM = 'must be a list of at most 1,000 of ["task","id"] or ["task","id",updatedAt,"phase"]'

_name = re.compile(NAME_PATTERN).fullmatch


class Removable(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """An entity that is to be taken away; with a time and a phase, only if its status has both."""

    kind: str
    id: EntityId
    # Not None: a null is no time, and must not be taken for none.
    updated_at: Timestamp | UnsetType = UNSET
    phase: str | UnsetType = UNSET

    def removes(self, status: Status) -> bool:
        """Tell whether it takes away an entity with this status."""
        return self.phase is UNSET or (status.phase, status.updated_at) == (
            self.phase,
            self.updated_at,
        )


_Removables = Annotated[list[Removable], Meta(max_length=MOST)]
_encode = msgspec.json.Encoder().encode
_decode: Callable[[bytes], list[Removable]] = msgspec.json.Decoder(_Removables).decode


class Removal(Struct, frozen=True):
    """An entry that takes entities away, whatever their statuses are."""

    partition: int
    ids: list[str]
    data: bytes
    """The value of its field `remove`."""


def removals_of(
    kind: str, ids: Iterable[str], *, partitions: int, max_event_bytes: int
) -> Iterator[Removal]:
    """Yield the entries that take entities of a kind away, each for its partition.

    Raises `UpdateError` for an id that is too long for an entry.
    """
    waiting: dict[int, list[str]] = defaultdict(list)
    sizes: Counter[int] = Counter()
    for each in ids:
        number = partition_of(each, partitions)
        size = len(_encode((kind, each))) + 1  # with a comma or the last bracket after it
        if size >= max_event_bytes:
            raise UpdateError(f"id: {each}; its entry is over max_event_bytes ({max_event_bytes})")
        # One more is the first bracket.
        if len(waiting[number]) == AT_ONCE or sizes[number] + size >= max_event_bytes:
            yield _removal(kind, number, waiting.pop(number))
            sizes[number] = 0
        waiting[number].append(each)
        sizes[number] += size
    for number, some in waiting.items():
        yield _removal(kind, number, some)


def _removal(kind: str, number: int, ids: list[str]) -> Removal:
    return Removal(number, ids, _encode([(kind, each) for each in ids]))


def encode_removal(removables: Sequence[Removable], max_event_bytes: int) -> bytes | None:
    """Return an entry for as many of these as fit, from the first one on; None where none does."""
    texts = [_encode(each) for each in removables]
    sizes = accumulate(len(text) + 1 for text in texts)
    fitting = [text for text, size in zip(texts, sizes, strict=True) if size < max_event_bytes]
    return b"[" + b",".join(fitting) + b"]" if fitting else None


def decode_removal(
    data: bytes, *, number: int, partitions: int, max_event_bytes: int
) -> list[Removable] | Rejection:
    """Return what an entry of a partition takes away, or why it is refused.

    Any kind will do, also one that the rules do not have any more.
    """
    if len(data) > max_event_bytes:
        return Rejection("oversized", f"over max_event_bytes ({max_event_bytes}): send less")
    try:
        data.decode()
        removables = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Rejection("invalid", f"remove: {error}; {_FORM}")
    for each in removables:
        why = _wrong(each, number, partitions)
        if why is not None:
            return why
    return removables


def _wrong(each: Removable, number: int, partitions: int) -> Rejection | None:
    if not _name(each.kind) or each.kind in PARTS:
        return Rejection("invalid", f"remove: {each.kind[:60]!r} is no kind; {_FORM}")
    if (each.updated_at is UNSET) is not (each.phase is UNSET):
        return Rejection("invalid", f"remove: {each.id}: give time and phase, or neither; {_FORM}")
    if (why := invalid_id(each.id)) is not None:
        return Rejection("invalid", f"remove: {why.detail}")
    home = partition_of(each.id, partitions)
    if home != number:
        return Rejection("invalid", f"remove: {each.id} belongs to partition {home}: send it there")
    return None
