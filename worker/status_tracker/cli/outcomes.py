"""Updates that are added by hand, and what becomes of each: told by the keys, as workers read them.

No two of them are of the same entity: whether a status changed tells of one update only.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from status_tracker.cli.connect import TRIED_FOR
from status_tracker.client.operations import asked, asked_all, is_lost
from status_tracker.client.sync_shell import SyncShell
from status_tracker.connection.client import Command
from status_tracker.errors import UnavailableError
from status_tracker.keys import partition_of
from status_tracker.metadata import Deployment
from status_tracker.text import decoded

LOOK_EVERY = 0.02
"""Seconds between two looks at the partitions' cursors."""

PAGE = 100
"""Rejected entries that are read at once: each may be as large as an update."""

NOT_KEPT = "the reason is not there any more: max_rejected is too small to keep it"

_entry_id = re.compile(rb"(\d+)-(\d+)").fullmatch


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of an update that was read."""

    before: bytes | None
    """What the status key held before; None where it held nothing."""
    after: bytes | None
    rejected: str | None
    """Reason and detail where it was rejected."""


class Entity(NamedTuple):
    """Of whom an update is."""

    kind: str
    id: str


class _Seen(Struct, frozen=True):
    """What one look at the keys of the entities and their partitions found."""

    statuses: list[bytes | None]
    duplicates: list[bytes | None]
    """Of each entity's partition."""
    last_rejected: dict[str, bytes]
    """Rejected stream → the ID of its newest entry."""


class ByHand:
    """Updates on their way through their partitions' streams."""

    def __init__(
        self, shell: SyncShell, deployment: Deployment, entities: Sequence[Entity]
    ) -> None:
        self._shell = shell
        self._deployment = deployment
        self._numbers = [partition_of(each.id, deployment.partitions) for each in entities]
        self._own = [deployment.keys.partition(number) for number in self._numbers]
        self._keys = [own.status(*each) for own, each in zip(self._own, entities, strict=True)]
        self._ids: list[bytes] = []
        self._before = self._look()

    @property
    def before(self) -> list[bytes | None]:
        """What the status keys held before."""
        return self._before.statuses

    def become(self, documents: Sequence[bytes], within: int) -> list[Outcome]:
        """Add an update of each entity, wait until all were read, and say what became of them.

        Raises `UnavailableError` where no worker reads them in so many milliseconds.
        """
        streams = [own.events for own in self._own]
        commands: list[Command] = [
            ("XADD", stream, "*", "data", data)
            for stream, data in zip(streams, documents, strict=True)
        ]
        try:
            self._ids = self._ask(commands, 0)
            # Of each partition the last one.
            last = dict(zip(self._numbers, self._ids, strict=True))
            await_read(self._shell, self._deployment, last, within)
            return list(self._outcomes())
        except UnavailableError as error:
            if not is_lost(error.__cause__):
                raise
            where = ", ".join(sorted(set(streams)))
            what = "the update" if len(streams) == 1 else "updates"
            raise UnavailableError(
                f"{error}; {what} may be in {where}: look before you send it again"
            ) from None

    def _look(self) -> _Seen:
        """Look at the keys, whatever is there."""
        # MGET has no value for a key of another type, which the worker will reject.
        statuses = self._ask([("MGET", key) for key in self._keys])
        duplicates = self._ask([("HGET", own.partition, "duplicates") for own in self._own])
        rejected = list(dict.fromkeys(own.rejected for own in self._own))
        newest = self._ask([("XREVRANGE", key, "+", "-", "COUNT", 1) for key in rejected])
        return _Seen(
            [status for [status] in statuses],
            duplicates,
            {
                key: page[0][0] if page else b"0-0"
                for key, page in zip(rejected, newest, strict=True)
            },
        )

    def _outcomes(self) -> Iterator[Outcome]:
        before, after = self._before, self._look()
        rejections = {
            found: why
            for key, last in after.last_rejected.items()
            for found, why in self._rejections(key, before.last_rejected[key], last)
        }
        for place, own in enumerate(self._own):
            rejected = rejections.get((own.events.encode(), self._ids[place]))
            was, became = before.statuses[place], after.statuses[place]
            if (
                rejected is None
                and was == became
                and before.duplicates[place] == after.duplicates[place]
            ):
                rejected = NOT_KEPT
            yield Outcome(before=was, after=became, rejected=rejected)

    def _rejections(
        self, key: str, first: bytes, last: bytes
    ) -> Iterator[tuple[tuple[bytes, bytes], str]]:
        """Yield stream and ID, and why, of the entries rejected after the first, up to the last."""
        while True:
            command = ("XRANGE", key, b"(" + first, last, "COUNT", PAGE)
            [page] = self._ask([command])
            for _, values in page:
                fields = dict(zip(values[::2], values[1::2], strict=True))
                reason, detail = fields.get(b"reason", b""), fields.get(b"detail", b"")
                found = fields.get(b"stream", b""), fields.get(b"id", b"")
                yield found, f"{decoded(reason)}: {decoded(detail)}"
            if len(page) < PAGE:
                return
            first = page[-1][0]

    def _ask(self, commands: Sequence[Command], within: float = TRIED_FOR) -> list[Any]:
        return self._shell.run(asked_all(list(commands), within))


def await_read(
    shell: SyncShell,
    deployment: Deployment,
    entry_ids: Mapping[int, bytes],
    within: int,
    what: str = "update",
) -> None:
    """Wait until an entry of each of some partitions was read.

    Raises `UnavailableError` where one is not read within so many milliseconds.
    """
    deadline = time.monotonic() + within / 1000
    left = dict(entry_ids)
    while left:
        commands: list[Command] = [
            ("HGET", deployment.keys.partition(number).partition, "cursor") for number in left
        ]
        cursors = shell.run(asked_all(commands, TRIED_FOR))
        left = {
            number: entry_id
            for (number, entry_id), cursor in zip(left.items(), cursors, strict=True)
            if not is_passed(cursor, entry_id)
        }
        if left and time.monotonic() >= deadline:
            raise _unread(
                shell, deployment, min(left), f"the {what} was not read within {within / 1000:g} s"
            )
        if left:
            time.sleep(LOOK_EVERY)


def _unread(shell: SyncShell, deployment: Deployment, number: int, late: str) -> UnavailableError:
    owner = shell.run(asked(("GET", deployment.keys.lease(number)), TRIED_FOR))
    who = "no worker reads" if owner is None else f"{decoded(owner)} is behind with"
    return UnavailableError(
        f"{who} partition {number}: {late}; "
        f"it stays in {deployment.keys.events(number)} and counts as soon as it is read"
    )


def server_time(shell: SyncShell) -> int:
    """Return the server's time in milliseconds since the epoch."""
    seconds, microseconds = shell.run(asked(("TIME",), TRIED_FOR))
    return 1000 * int(seconds) + int(microseconds) // 1000


def is_passed(cursor: bytes | None, entry_id: bytes) -> bool:
    """Tell whether a cursor stands at an entry or after it."""
    at, wanted = _entry_id(cursor or b""), _entry_id(entry_id)
    if at is None or wanted is None:
        return False
    return (int(at[1]), int(at[2])) >= (int(wanted[1]), int(wanted[2]))
