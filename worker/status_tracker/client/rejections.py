"""The entries that were not applied, where they are kept: paged through, looked up, taken away."""

import heapq
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from status_tracker.client.documents import Rejected, RejectedPage, rejected_in
from status_tracker.client.feed import (
    BEGINNING,
    LARGEST,
    Place,
    Places,
    id_parts,
    is_id,
    places_of,
    token_of,
)
from status_tracker.client.operations import Operation, asked_all
from status_tracker.connection.client import Command
from status_tracker.metadata import Deployment

AT_ONCE = 200
"""Entries of a stream that are read at once: each may be as large as an update."""

AT_LEAST = 10
"""Entries of each of many streams: of some of them there is more than of others."""

END = Place(f"{LARGEST}-{LARGEST}", 0)
"""Where the newest comes first, the beginning. No entry has this ID."""

BACKWARDS = "~"
"""What tokens begin with where the newest comes first."""

_entry_name = re.compile("([0-9]+/)?([^/]+)").fullmatch


def rejected_streams(deployment: Deployment) -> dict[str, str]:
    """Return each stream of rejected entries, and what stands before an ID in their names."""
    if deployment.keys.layout == "single":
        return {deployment.keys.partition(0).rejected: ""}
    numbers = range(deployment.partitions)
    return {deployment.keys.partition(number).rejected: f"{number}/" for number in numbers}


def split_name(name: str) -> tuple[str, str | None]:
    """Return what stands before the ID in the name of a rejected entry, and the ID."""
    found = _entry_name(name)
    return (found[1] or "", found[2]) if found and is_id(found[2]) else ("", None)


def page_of(
    deployment: Deployment,
    *,
    reason: str | None,
    newest: bool,
    limit: int,
    after: str | None,
    within: float,
) -> Operation[RejectedPage]:
    """Return some of them, of all streams, by when they were rejected."""
    streams = rejected_streams(deployment)
    places = _places(streams, after, newest=newest)
    # Of a reason there may be few among many.
    share = AT_ONCE if reason else limit // len(streams) + AT_LEAST
    at_once = min(AT_ONCE, share)
    entries: list[Rejected] = []
    has_more = True
    while has_more and len(entries) < limit:
        commands = [_command(stream, at, at_once, newest=newest) for stream, at in places.items()]
        replies = yield from asked_all(commands, within)
        pages = _Pages(dict(zip(places, replies, strict=True)), at_once, newest=newest)
        entries += pages.take(streams, places, reason, limit - len(entries))
        has_more = pages.has_more
    if newest:
        # Of a stream of which nothing was taken, what comes from now on is newer than this page.
        taken = [id_parts(at.id) for at in places.values() if at != END]
        if taken:
            ms, number = min(taken)
            begins = Place(f"{ms}-{number + 1}", 0)
            places = {stream: begins if at == END else at for stream, at in places.items()}
    token = token_of(places.values())
    if newest:
        return RejectedPage(entries, BACKWARDS + token if has_more else None)
    return RejectedPage(entries, token)


def entries_of(
    deployment: Deployment, names: Iterable[str], within: float
) -> Operation[dict[str, Rejected | None]]:
    """Return entries by their names; None for what is not kept."""
    commands: dict[str, Command] = {}
    for name, (stream, entry_id) in _located(deployment, names).items():
        commands[name] = ("XRANGE", stream, entry_id, entry_id)
    pages = yield from asked_all(list(commands.values()), within)
    return {
        name: rejected_in(name, _fields(page[0][1])) if page else None
        for name, page in zip(commands, pages, strict=True)
    }


def purge(deployment: Deployment, names: Iterable[str], within: float) -> Operation[int]:
    """Take entries away for good; return how many there still were."""
    ids: dict[str, list[str]] = defaultdict(list)
    for stream, entry_id in _located(deployment, names).values():
        ids[stream].append(entry_id)
    commands: list[Command] = [("XDEL", stream, *some) for stream, some in ids.items()]
    return sum((yield from asked_all(commands, within)))


def _located(deployment: Deployment, names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return stream and ID of entries; raises ValueError for what is no name of one."""
    prefixes = {prefix: stream for stream, prefix in rejected_streams(deployment).items()}
    found = {}
    for name in names:
        prefix, entry_id = split_name(name)
        if prefix not in prefixes or entry_id is None:
            example = f"{next(iter(prefixes))}1700000000000-0"
            raise ValueError(f"entry: {name}; write one as {example}")
        found[name] = prefixes[prefix], entry_id
    return found


def _places(streams: Mapping[str, str], after: str | None, *, newest: bool) -> Places:
    if not after:
        return dict.fromkeys(streams, END if newest else BEGINNING)
    if after.startswith(BACKWARDS) != newest:
        raise ValueError("after: it is a place in the list in its other order")
    return places_of(after.removeprefix(BACKWARDS), list(streams))


def _command(stream: str, place: Place, count: int, *, newest: bool) -> Command:
    if newest:
        return ("XREVRANGE", stream, f"({place.id}", "-", "COUNT", count)
    return ("XRANGE", stream, f"({place.id}", "+", "COUNT", count)


def _fields(values: list[Any]) -> dict[bytes, bytes]:
    return dict(zip(values[::2], values[1::2], strict=True))


class _Pages:
    """What was read of all streams at once."""

    def __init__(self, pages: dict[str, list[Any]], at_once: int, *, newest: bool) -> None:
        self._newest = newest
        self._entries = heapq.merge(
            *(
                [(id_parts(entry_id.decode()), stream, values) for entry_id, values in page]
                for stream, page in pages.items()
            ),
            key=lambda entry: entry[0],
            reverse=newest,
        )
        # A stream of which there is more may have entries before those of the others.
        self._ends = [
            id_parts(page[-1][0].decode()) for page in pages.values() if len(page) == at_once
        ]
        self.has_more: bool = bool(self._ends)
        """Whether there is more than was taken."""

    def take(
        self, names: Mapping[str, str], places: Places, reason: str | None, most: int
    ) -> list[Rejected]:
        """Take entries in the order of their IDs, and move the places on."""
        found: list[Rejected] = []
        for at, stream, values in self._entries:
            if len(found) == most or self._is_beyond(at):
                self.has_more = True
                break
            places[stream] = Place(f"{at[0]}-{at[1]}", 0)
            entry = rejected_in(f"{names[stream]}{at[0]}-{at[1]}", _fields(values))
            if reason in (None, entry.reason):
                found.append(entry)
        return found

    def _is_beyond(self, at: tuple[int, int]) -> bool:
        if self._newest:
            return any(at < end for end in self._ends)
        return any(at > end for end in self._ends)
