"""The change feed: where one stands in it, how it is followed, and when some of it was missed.

A place in a stream is the ID of an entry and how many were ever added up to it. IDs have gaps, so
only the number tells whether entries after the place were trimmed, or the stream was replaced.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from status_tracker.client.operations import (
    Follow,
    Followed,
    Operation,
    Pause,
    Tail,
    is_lost,
    is_passing,
    pairs,
)
from status_tracker.connection.client import Command
from status_tracker.errors import FeedGapError, UnavailableError
from status_tracker.models import Change

T = TypeVar("T")

AT_ONCE = 500
"""Entries of a stream that are read at once."""

BLOCKS_FOR = 1.0
"""Seconds for which the server waits for an entry. It has to be well within what the connection
waits for an answer: redis-py's timeouts know nothing of it."""

AGAIN_AFTER = 0.2
"""Seconds until a feed that cannot be followed is tried again."""

NOT_OF_IT = "after: it is no token of this deployment"

LARGEST = 2**64 - 1
"""The largest number in an ID."""

_entry_id = re.compile("[0-9]{1,20}-[0-9]{1,20}").fullmatch
_GONE = re.compile("(ERR )?no such key")


class Removal(Struct, frozen=True):
    """An entity that was taken away: it has no status any more."""

    kind: str
    id: str


class Place(Struct, frozen=True, array_like=True):
    """Where one stands in a stream."""

    id: str
    added: int
    """Entries that were ever added, up to this one."""
    told: int = 0
    """Events of the entry after it that were told already: a removal may be of many entities."""


BEGINNING = Place("0-0", 0)

Places = dict[str, Place]
"""Stream → place."""


class Event(Struct, frozen=True):
    """What changed, and where in which stream one stands after it."""

    what: Change | Removal
    stream: str
    place: Place


_decode_change = msgspec.json.Decoder(Change).decode
_decode_removals = msgspec.json.Decoder(list[list[Any]]).decode
_encode_places = msgspec.msgpack.Encoder().encode
_decode_places = msgspec.msgpack.Decoder(list[Place]).decode


def token_of(places: Iterable[Place]) -> str:
    """Return the places in all streams as text, in the order of the streams."""
    return base64.urlsafe_b64encode(_encode_places(list(places))).decode().rstrip("=")


def places_of(token: str, streams: Sequence[str]) -> Places:
    """Return what a token says; raises ValueError where it is none of this deployment."""
    places = places_in(token)
    if len(places) != len(streams):
        raise ValueError(NOT_OF_IT)
    return dict(zip(streams, places, strict=True))


def places_in(token: str) -> list[Place]:
    """Return the place in each stream; raises ValueError for what is no token."""
    try:
        padded = token + "=" * (-len(token) % 4)
        # Strictly: others write a token out again as it came.
        places = _decode_places(base64.b64decode(padded.encode(), altchars=b"-_", validate=True))
    except (ValueError, msgspec.MsgspecError):
        raise ValueError(NOT_OF_IT) from None
    if not all(is_id(place.id) for place in places):
        raise ValueError(NOT_OF_IT)
    return places


def is_id(text: str) -> bool:
    """Tell whether a text is the ID of an entry, as there may be one."""
    return _entry_id(text) is not None and max(id_parts(text)) <= LARGEST


def id_parts(entry_id: str) -> tuple[int, int]:
    """Return what IDs are compared by."""
    milliseconds, number = entry_id.split("-")
    return int(milliseconds), int(number)


def is_missing(reply: Any) -> bool:
    """Tell whether a reply says that there is no such stream."""
    return isinstance(reply, Exception) and bool(_GONE.match(str(reply)))


class _Info(Struct, frozen=True):
    """What XINFO STREAM says."""

    length: int
    added: int
    last: str
    deleted: str
    first: str | None

    @property
    def place(self) -> Place:
        """The end of the stream."""
        return Place(self.last, self.added)


_EMPTY = _Info(0, 0, "0-0", "0-0", None)


def _info(reply: Any) -> _Info:
    """Read the reply to XINFO STREAM; raises the error that it is."""
    if is_missing(reply):
        return _EMPTY
    if isinstance(reply, Exception):
        raise reply
    found = pairs(reply)
    first = found[b"first-entry"]
    return _Info(
        length=found[b"length"],
        added=found[b"entries-added"],
        last=found[b"last-generated-id"].decode(),
        deleted=found[b"max-deleted-entry-id"].decode(),
        first=first[0].decode() if first else None,
    )


def check_place(stream: str, place: Place, reply: Any) -> None:
    """Raise `FeedGapError` where entries after a place are not there any more.

    `reply` is what XINFO STREAM said after they were read, so that none can be trimmed in between.
    """
    info = _info(reply)
    at = id_parts(place.id)
    trimmed = info.added - info.length
    if id_parts(info.last) < at or info.added < place.added:
        why = "the feed ends before it: it was replaced, or a failover lost the end"
    elif id_parts(info.deleted) > at:
        why = "somebody deleted changes after it"
    elif (info.first is None or id_parts(info.first) > at) and trimmed != place.added:
        why = f"changes after it were trimmed: max_changes keeps {info.length:,}"
    else:
        return
    raise FeedGapError(
        f"{stream}: no going on after {place.id}: {why}; take a new snapshot, and go on from there"
    )


def ends_of(streams: Sequence[str]) -> list[Command]:
    """Return what asks for the ends of streams."""
    return [("XINFO", "STREAM", stream) for stream in streams]


def ends(streams: Sequence[str], replies: Sequence[Any]) -> Places:
    """Return the ends of streams from the replies."""
    return {stream: _info(reply).place for stream, reply in zip(streams, replies, strict=True)}


def follow_commands(places: Mapping[str, str], block: float) -> list[Command]:
    """Return what waits for entries after places, in one pipeline."""
    read = ("XREAD", "COUNT", AT_ONCE, "BLOCK", max(1, round(1000 * block)), "STREAMS")
    return [(*read, *places.keys(), *places.values()), *ends_of(list(places))]


def followed(places: Mapping[str, str], replies: Sequence[Any]) -> Followed:
    """Return what came of `follow_commands`."""
    read, *infos = replies
    if isinstance(read, Exception) or not read:
        nothing: Any = read if isinstance(read, Exception) else []
        return {stream: (nothing, info) for stream, info in zip(places, infos, strict=True)}
    entries = dict(read.items() if isinstance(read, Mapping) else read)
    return {
        stream: (entries.get(stream.encode(), []), info)
        for stream, info in zip(places, infos, strict=True)
    }


def block_within(timeout: float | None) -> float:
    """Return for how long the server may wait, by the timeout of the connection's socket."""
    return BLOCKS_FOR if timeout is None else min(BLOCKS_FOR, timeout / 2)


def next_events(tail: Tail, places: Places) -> Operation[list[Event]]:
    """Wait for what changed after places, and move them on; nothing where it was quiet for a while.

    An outage is waited out. Raises `FeedGapError`, and `UnavailableError` where the server refuses
    to tell.
    """
    replies: Followed = yield Follow(tail, {stream: at.id for stream, at in places.items()})
    events: list[Event] = []
    is_away = False
    for stream, (entries, info) in replies.items():
        errors = [each for each in (entries, info) if isinstance(each, Exception)]
        if any(is_lost(error) or is_passing(error) for error in errors):
            is_away = True
            continue
        for error in errors:
            if not is_missing(error):
                raise UnavailableError(f"{stream}: {error}")
        check_place(stream, places[stream], info)
        for entry_id, values in entries:
            found = list(events_of(stream, places[stream], entry_id.decode(), values))
            events += found
            places[stream] = Place(entry_id.decode(), places[stream].added + 1)
    if is_away and not events:
        yield Pause(AGAIN_AFTER)
    return events


def events_of(
    stream: str, before: Place, entry_id: str, values: Sequence[bytes]
) -> Iterator[Event]:
    """Yield the events of the entry after a place, without those that were told."""
    whats = list(_changes_in(dict(zip(values[::2], values[1::2], strict=True))))
    for number, what in enumerate(whats[before.told :], start=before.told + 1):
        after = Place(before.id, before.added, number)
        if number == len(whats):
            after = Place(entry_id, before.added + 1)
        yield Event(what, stream, after)


def _changes_in(fields: Mapping[bytes, bytes]) -> Sequence[Change | Removal]:
    """Return what an entry of the feed tells; nothing where somebody else wrote it."""
    try:
        if b"data" in fields:
            return [_decode_change(fields[b"data"])]
        removed = _decode_removals(fields.get(b"removed", b"[]"))
        return [Removal(str(kind), str(entity_id)) for kind, entity_id, *_ in removed]
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return []
