"""The entries that a partition's worker read between two moments: all of them, or an error."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
    return Place(cursor, int(entries) if entries.isdecimal() else 0, fields.get("epoch", "0"))


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


def as_numbers(entry_id: str) -> tuple[int, int]:
    """Return an entry's ID in a form that can be compared."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
