"""Entities on their way out: what each was, the entries that remove them, and what each is then."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from status_tracker.cli.connect import TRIED_FOR
from status_tracker.cli.outcomes import await_read
from status_tracker.client.documents import status_in
from status_tracker.client.emitting import Emitting, Options
from status_tracker.client.feed import id_parts
from status_tracker.client.operations import asked_all
from status_tracker.client.site import Site
from status_tracker.client.sync_shell import SyncShell
from status_tracker.connection.client import Command
from status_tracker.metadata import Deployment
from status_tracker.models import Status
from status_tracker.removal import Removal

AT_ONCE = 5_000
"""Ids whose entries are added, and waited for, together."""

RETRY_FOR = 10.0
"""Seconds for which a server that is away is tried again, in the middle of many."""

Became = Literal["gone", "none", "back", "unreadable"]
"""What became of an entity; `none` where there was none."""


class Forgotten(Struct, frozen=True):
    """What became of one entity."""

    id: str
    key: str
    """That of its status."""
    became: Became
    before: Status | None
    after: Status | None


class Remover:
    """Takes entities of one kind away."""

    def __init__(self, shell: SyncShell, deployment: Deployment, kind: str, timeout: int) -> None:
        self.kind = kind
        self._shell = shell
        self._deployment = deployment
        self._timeout = timeout
        self._emitting = emitting_of(deployment)

    def remove(self, ids: Sequence[str]) -> Iterator[Forgotten]:
        """Yield what became of each, when it did.

        Raises `UnavailableError` where no worker reads the entries within the timeout.
        """
        for begin in range(0, len(ids), AT_ONCE):
            some = ids[begin : begin + AT_ONCE]
            removals = self._shell.run(self._emitting.removals(self.kind, some))
            before = self._documents(removals)
            send(self._shell, self._deployment, self._emitting, removals, self._timeout)
            found = dict(self._forgotten(removals, before))
            yield from map(found.__getitem__, some)

    def _forgotten(
        self, removals: Sequence[Removal], before: list[Any]
    ) -> Iterator[tuple[str, Forgotten]]:
        after = self._documents(removals)
        ids = [each for removal in removals for each in removal.ids]
        keys = [key for removal in removals for key in self._keys(removal)]
        unreadable = self._unreadable(removals, keys, after)
        for each, key, was, became in zip(ids, keys, before, after, strict=True):
            then, now = status_in(was), status_in(became)
            if key in unreadable:
                outcome: Became = "unreadable"
            elif now is not None:
                outcome = "back"
            else:
                outcome = "none" if was is None else "gone"
            yield each, Forgotten(each, key, outcome, then, now)

    def _unreadable(
        self, removals: Sequence[Removal], keys: list[str], documents: list[Any]
    ) -> set[str]:
        """Return the keys that hold something else than a status: no entry removes that."""
        # MGET has no value for a key of another type, but EXISTS counts it.
        there = sum(self._ask([("EXISTS", *self._keys(removal)) for removal in removals]))
        if there == sum(status_in(document) is not None for document in documents):
            return set()
        doubtful = [
            key
            for key, document in zip(keys, documents, strict=True)
            if status_in(document) is None
        ]
        exist = self._ask([("EXISTS", key) for key in doubtful])
        return {key for key, exists in zip(doubtful, exist, strict=True) if exists}

    def _documents(self, removals: Sequence[Removal]) -> list[Any]:
        """Return what the keys hold: of one entry's entities by one command."""
        replies = self._ask([("MGET", *self._keys(removal)) for removal in removals])
        return [document for reply in replies for document in reply]

    def _keys(self, removal: Removal) -> list[str]:
        own = self._deployment.keys.partition(removal.partition)
        return [own.status(self.kind, each) for each in removal.ids]

    def _ask(self, commands: list[Command]) -> list[Any]:
        return self._shell.run(asked_all(commands, RETRY_FOR))


def emitting_of(deployment: Deployment) -> Emitting:
    """Return what adds entries to a deployment's streams, each once."""
    options = Options(retry_for=RETRY_FOR, max_backlog=None, backlog_timeout=0, wait_replicas=0)
    return Emitting(Site(deployment.keys.prefix, TRIED_FOR), options)


def send(
    shell: SyncShell,
    deployment: Deployment,
    emitting: Emitting,
    removals: Sequence[Removal],
    timeout: int,
) -> None:
    """Add entries, and wait until workers have read them."""
    entry_ids = shell.run(emitting.send_removals(removals))
    last: dict[int, str] = {}
    for removal, entry_id in zip(removals, entry_ids, strict=True):
        # After a lost connection, an earlier one may have been added after the others.
        last[removal.partition] = max(last.get(removal.partition, "0-0"), entry_id, key=id_parts)
    read = {number: entry_id.encode() for number, entry_id in last.items()}
    await_read(shell, deployment, read, timeout, "removal")
