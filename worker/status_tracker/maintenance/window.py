"""The entries that a partition's worker read between two moments: all of them, or an error."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from status_tracker.connection.client import Client
from status_tracker.decode import FIELD, FROM, REMOVE, Entry
from status_tracker.errors import ConfigError, UnavailableError
from status_tracker.keys import PartitionKeys
from status_tracker.lua.read import read

ENTRIES_AT_ONCE = 5_000
BYTES_AT_ONCE = 4 * 1024 * 1024


class Place(NamedTuple):
    """How far a partition was read."""

    cursor: str
    entries: int
    """How many were read up to there."""
    epoch: str


class Named(Struct):
    """Which entity an update is of."""

    kind: str
    id: str


_decode_named = msgspec.json.Decoder(Named).decode


class Ended(Struct, frozen=True):
    """What had become of a partition's entries when it was exported."""

    epoch: str
    here: int
    """How many were read and not forwarded."""


class Imported(Struct, frozen=True):
    """What a deployment was imported from; its `meta` key has it as JSON, in `imported`."""

    snapshot: str
    partitions: list[Ended]


class Window(NamedTuple):
    """Entries that were read, and the place after the last of them."""

    entries: Sequence[Entry]
    end: Place


def place_of(own: PartitionKeys, fields: Mapping[str, str]) -> Place:
    """Return where a partition's hash says that it is; raises `ConfigError`."""
    cursor, entries = fields.get("cursor", "0-0"), fields.get("entries", "0")
    if not re.fullmatch(r"\d+-\d+", cursor):
        raise ConfigError(
            f"{own.partition} holds the cursor {cursor}, which is no entry ID: set it to the ID of "
            "the last entry applied"
        )
    return Place(cursor, _number(entries), fields.get("epoch", "0"))


def ended_of(fields: Mapping[str, str]) -> Ended:
    """Return what a partition's hash says of its entries."""
    entries, forwarded = (fields.get(name, "0") for name in ("entries", "forwarded"))
    return Ended(fields.get("epoch", "0"), _number(entries) - _number(forwarded))


async def read_window(
    client: Client, own: PartitionKeys, begin: Place, end: Place, *, longest: int
) -> Window:
    """Return the first entries between two places; values of more bytes are cut behind `longest`.

    Raises `UnavailableError` where entries are not there any more.
    """
    found: Sequence[Entry] = await read(
        client,
        events=own.events,
        cursor=begin.cursor,
        count=ENTRIES_AT_ONCE,
        longest=longest + 1,
        size=BYTES_AT_ONCE,
        names=1,
        fields=[FIELD, REMOVE, FROM],
    )
    last = as_numbers(end.cursor)
    entries = [each for each in found if as_numbers(each[0].decode()) <= last]
    cursor = entries[-1][0].decode() if entries else begin.cursor
    reached = Place(cursor, begin.entries + len(entries), begin.epoch)
    is_last = not entries or len(entries) < len(found) or cursor == end.cursor
    if begin.epoch != end.epoch or (is_last and reached != end):
        raise UnavailableError(
            f"{own.events}: entries after {begin.cursor} were trimmed away, or the stream is "
            "another one: keep entries for longer, and export again"
        )
    return Window(entries, reached)


def named_in(data: bytes) -> Named | None:
    """Return which entity an update is of; None where it can only be rejected."""
    try:
        return _decode_named(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def as_numbers(entry_id: str) -> tuple[int, int]:
    """Return an entry's ID in a form that can be compared."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
