"""What an entry that was rejected would do now, by the workers' own decoder and fold."""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec
from msgspec import Struct

from status_tracker.cli.connect import TRIED_FOR
from status_tracker.cli.outcomes import Entity, server_time
from status_tracker.cli.rejected.kept import Kept
from status_tracker.client.documents import status_in
from status_tracker.client.operations import asked_all
from status_tracker.client.sync_shell import SyncShell
from status_tracker.decode import Decoder, invalid_id
from status_tracker.fold import DUPLICATE, Corrupt, Fold
from status_tracker.keys import partition_of
from status_tracker.metadata import Deployment
from status_tracker.models import Rejection, Status, Update

State = Status | Corrupt | None


class Verdict(Struct, frozen=True):
    """What becomes of an entry."""

    outcome: Literal["applied", "duplicate", "rejected", "left"]
    detail: str
    """The status where it was applied, or why it was not."""


class Judge:
    """Says what becomes of entries."""

    def __init__(self, shell: SyncShell, deployment: Deployment) -> None:
        self._shell = shell
        self._deployment = deployment
        self._decode = Decoder(deployment.rules).decode
        self._folds = {kind: Fold(kind, deployment.rules) for kind in deployment.rules.kinds}

    def refusal(self, kept: Kept) -> Verdict | None:
        """Say why an entry is not sent again, or None: whatever its status is, it is refused."""
        found = self._update(kept)
        return Verdict("left", found) if isinstance(found, str) else None

    def foresee(self, found: Iterable[Kept]) -> Iterator[tuple[Kept, Verdict]]:
        """Yield what would become of entries that came now, one after the other."""
        now = server_time(self._shell)
        states: dict[Entity, State] = {}
        for kept in found:
            update = self._update(kept)
            if isinstance(update, str):
                yield kept, Verdict("left", update)
                continue
            entity = Entity(kept.kind, kept.id)
            if entity not in states:
                states[entity] = self._read(entity)
            outcome = self._folds[kept.kind].apply(states[entity], update, now)
            if isinstance(outcome, Rejection):
                yield kept, Verdict("rejected", f"{outcome.reason}: {outcome.detail}")
            elif outcome is DUPLICATE:
                yield kept, Verdict("duplicate", "")
            else:
                states[entity] = outcome
                yield kept, Verdict("applied", msgspec.json.encode(outcome).decode())

    def _update(self, kept: Kept) -> Update | str:
        """Return the update in an entry, or why there is none."""
        if kept.rejected.reason == "oversized":
            return "oversized: only its beginning is kept"
        if not kept.rejected.data:
            return f"{kept.rejected.reason}: it had no data"
        update = self._decode(kept.rejected.data)
        if isinstance(update, Update):
            refused = invalid_id(update.id)
            if refused is None:
                return update
            update = refused
        return f"{update.reason}: {update.detail}"

    def _read(self, entity: Entity) -> State:
        number = partition_of(entity.id, self._deployment.partitions)
        key = self._deployment.keys.partition(number).status(*entity)
        reading = asked_all([("MGET", key), ("EXISTS", key)], TRIED_FOR)
        [document], exists = self._shell.run(reading)
        status = status_in(document)
        if status is None and exists:
            return Corrupt(f"{key} holds no status: mend or delete it")
        return status
