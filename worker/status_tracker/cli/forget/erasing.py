"""Taking entries out of the change feed, the rejected entries and the streams, in small steps."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct, field

from status_tracker.cli.forget.removing import RETRY_FOR, emitting_of, send
from status_tracker.cli.forget.traces import Fields, Traces
from status_tracker.cli.outcomes import is_passed
from status_tracker.client.feed import id_parts
from status_tracker.client.operations import asked, asked_all, pairs
from status_tracker.client.sync_shell import SyncShell
from status_tracker.connection.client import Command
from status_tracker.decode import size_of
from status_tracker.keys import GROUP, PartitionKeys
from status_tracker.metadata import Deployment
from status_tracker.removal import Removal
from status_tracker.text import decoded

PAGE, MOST, PAGE_BYTES = 10, 200, 256 * 1024
"""Entries that are read, and deleted, at once: at first, at most, and in bytes, about. So no step
takes a millisecond of the server, unless producers sent what is far over `max_event_bytes`."""

Advance = Callable[[int], object]
"""Called with how many entries more were looked at."""


class Erased(Struct):
    """How many entries were taken out."""

    changes: int = 0
    """Of the change feed."""
    notices: int = 0
    """Entries of the change feed that tell of the removals themselves, which stay."""
    rejected: int = 0
    updates: int = 0
    """Of the streams."""
    left: dict[str, int] = field(default_factory=dict)
    """Where entries could not be taken out, and why → how many."""


class Eraser:
    """Takes out of a deployment's streams what tells of some entities."""

    def __init__(
        self, shell: SyncShell, deployment: Deployment, traces: Traces, timeout: int
    ) -> None:
        self._shell = shell
        self._deployment = deployment
        self._traces = traces
        self._timeout = timeout
        self._own = [deployment.keys.partition(number) for number in range(deployment.partitions)]
        self._changes = list(dict.fromkeys(own.changes for own in self._own))
        self._rejected = list(dict.fromkeys(own.rejected for own in self._own))
        self._began = self._ends(self._changes)

    def size(self) -> int:
        """Return how many entries there are to look at."""
        streams = [*self._changes, *self._rejected, *(own.events for own in self._own)]
        return sum(self._ask([("XLEN", stream) for stream in streams]))

    def erase(self, advance: Advance) -> Erased:
        """Take out what is there now, and of the streams what was applied."""
        erased = Erased()
        for stream, end in self._ends(self._changes).items():
            for page in self._pages(stream, end, advance):
                found = [each for each in page if self._traces.in_change(each[1])]
                kept = [each for each in found if self._is_notice(stream, *each)]
                erased.notices += len(kept)
                erased.changes += self._delete(stream, [one for one in found if one not in kept])
        for stream, end in self._ends(self._rejected).items():
            for page in self._pages(stream, end, advance):
                found = [each for each in page if self._traces.in_rejected(each[1])]
                erased.rejected += self._delete(stream, found)
        for number, cursor in self._passed(self._cursors(range(len(self._own)))).items():
            self._erase_updates(self._own[number], cursor, erased, advance)
        return erased

    def _is_notice(self, stream: str, entry_id: str, fields: Fields) -> bool:
        """Tell whether an entry of the feed is of this run: its readers may not have it yet."""
        return b"removed" in fields and id_parts(entry_id) > id_parts(self._began[stream])

    def _erase_updates(
        self, own: PartitionKeys, cursor: str, erased: Erased, advance: Advance
    ) -> None:
        """Take out what was applied, and what no other group has still to read."""
        [length] = self._ask([("XLEN", own.events)])
        if length == 0:  # or there is no stream
            return
        bound, where = self._bound(own.events, cursor)
        for page in self._pages(own.events, cursor, advance):
            found = [each for each in page if self._traces.in_update(each[1])]
            free = [each for each in found if id_parts(each[0]) < bound]
            erased.updates += self._delete(own.events, free)
            if len(found) > len(free):
                erased.left[where] = erased.left.get(where, 0) + len(found) - len(free)

    def _bound(self, stream: str, cursor: str) -> tuple[tuple[int, int], str]:
        """Return up to which ID entries of a stream may go, and who is in the way of others."""
        [reply] = self._ask([("XINFO", "GROUPS", stream)])
        groups = {decoded(group[b"name"]): group for group in map(pairs, reply)}
        if GROUP not in groups:
            # Another stream may have come in the place of the one that was read.
            return (0, 0), f"{stream}, whose group is not there: its owner mends that"
        last_read = id_parts(groups.pop(GROUP)[b"last-delivered-id"].decode())
        bounds = [(min(id_parts(cursor), last_read), f"{stream}, which was read last of all")]
        for name, group in groups.items():
            where = f"{stream}, which group {name} has not read or acknowledged"
            milliseconds, number = id_parts(group[b"last-delivered-id"].decode())
            bounds.append(((milliseconds, number + 1), where))
            if group[b"pending"]:
                [pending] = self._ask([("XPENDING", stream, name)])
                bounds.append((id_parts(pending[1].decode()), where))
        return min(bounds)

    def _cursors(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the cursors of partitions of which something was read."""
        wanted = list(numbers)
        found = self._ask([("HGET", self._own[each].partition, "cursor") for each in wanted])
        return {
            number: cursor.decode()
            for number, cursor in zip(wanted, found, strict=True)
            if is_passed(cursor, b"0-1")  # else nothing was read, or it is no ID
        }

    def _passed(self, cursors: dict[int, str]) -> dict[int, str]:
        """Have the workers move on where what was read last is to be taken out; return cursors.

        With the entry deleted at which the group stands, XINFO GROUPS has no lag until the group
        moves. So an entry comes after it that removes nothing.
        """
        pages = self._ask(
            [("XRANGE", self._own[number].events, at, at) for number, at in cursors.items()]
        )
        standing = [
            number
            for number, page in zip(cursors, pages, strict=True)
            if any(self._traces.in_update(_fields(values)) for _, values in page)
        ]
        if not standing:
            return cursors
        nothing = [Removal(number, [], b"[]") for number in standing]
        emitting = emitting_of(self._deployment)
        send(self._shell, self._deployment, emitting, nothing, self._timeout)
        return {**cursors, **self._cursors(standing)}

    def _pages(
        self, stream: str, last: str, advance: Advance
    ) -> Iterator[list[tuple[str, Fields]]]:
        """Yield the entries of a stream up to one, so many at a time as are read quickly."""
        first, count = "-", PAGE
        while True:
            command = ("XRANGE", stream, first, last, "COUNT", count)
            page = self._shell.run(asked(command, RETRY_FOR))
            yield [(entry_id.decode(), _fields(values)) for entry_id, values in page]
            advance(len(page))
            if len(page) < count:
                return
            first = f"({page[-1][0].decode()}"
            size = sum(map(size_of, page))
            count = max(1, min(MOST, count * PAGE_BYTES // max(1, size)))

    def _delete(self, stream: str, found: list[tuple[str, Fields]]) -> int:
        """Delete entries of a stream; return how many they are."""
        if found:
            self._ask([("XDEL", stream, *(entry_id for entry_id, _ in found))])
        return len(found)

    def _ends(self, streams: Iterable[str]) -> dict[str, str]:
        """Return the ID of the last entry of each stream."""
        wanted = list(streams)
        pages = self._ask([("XREVRANGE", stream, "+", "-", "COUNT", 1) for stream in wanted])
        return {
            stream: page[0][0].decode() if page else "0-0"
            for stream, page in zip(wanted, pages, strict=True)
        }

    def _ask(self, commands: list[Command]) -> list[Any]:
        return self._shell.run(asked_all(commands, RETRY_FOR))


def _fields(values: list[bytes]) -> Fields:
    """Return an entry's fields; of several with one name the first, which is what counts."""
    return dict(zip(reversed(values[::2]), reversed(values[1::2]), strict=True))
