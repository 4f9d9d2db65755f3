"""What an entry that was rejected would do now, by the workers' own decoder and fold."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from status_tracker.client.documents import Rejected, status_in
from status_tracker.client.operations import Operation, asked_all
from status_tracker.connection.client import Command
from status_tracker.decode import invalid_id
from status_tracker.fold import DUPLICATE, Corrupt
from status_tracker.keys import partition_of
from status_tracker.metadata import Deployment
from status_tracker.models import Rejection, Status, Update

State = Status | Corrupt | None


class Verdict(Struct, frozen=True):
    """What becomes of an entry."""

    outcome: Literal["applied", "duplicate", "rejected", "left"]
    detail: str
    """The status where it was applied, or why it was not."""


class _Entity(NamedTuple):
    kind: str
    id: str


class Judge:
    """Says what becomes of entries, one after the other: it remembers what they changed."""

    def __init__(self, deployment: Deployment, within: float) -> None:
        self._deployment = deployment
        self._within = within
        self._decode = deployment.decoder.decode
        self._folds = deployment.folds
        self._states: dict[_Entity, State] = {}

    def refusal(self, rejected: Rejected) -> Verdict | None:
        """Say why an entry is not sent again, or None: whatever its status is, it is refused."""
        found = self._update(rejected)
        return Verdict("left", found) if isinstance(found, str) else None

    def foresee(self, several: Sequence[Rejected]) -> Operation[list[Verdict]]:
        """Return what would become of entries that came now, after those that came before."""
        updates = [self._update(each) for each in several]
        entities = {_of(each): None for each in updates if isinstance(each, Update)}
        now = yield from self._read([each for each in entities if each not in self._states])
        return [self._judged(update, now) for update in updates]

    def _judged(self, update: Update | str, now: int) -> Verdict:
        if isinstance(update, str):
            return Verdict("left", update)
        entity = _of(update)
        outcome = self._folds[entity.kind].apply(self._states[entity], update, now)
        if isinstance(outcome, Rejection):
            return Verdict("rejected", f"{outcome.reason}: {outcome.detail}")
        if outcome is DUPLICATE:
            return Verdict("duplicate", "")
        self._states[entity] = outcome
        return Verdict("applied", msgspec.json.encode(outcome).decode())

    def _update(self, rejected: Rejected) -> Update | str:
        """Return the update in an entry, or why there is none."""
        if rejected.reason == "oversized":
            return "oversized: only its beginning is kept"
        if not rejected.data:
            return f"{rejected.reason}: it had no data"
        update = self._decode(rejected.data)
        if isinstance(update, Update):
            refused = invalid_id(update.id)
            if refused is None:
                return update
            update = refused
        return f"{update.reason}: {update.detail}"

    def _read(self, entities: Sequence[_Entity]) -> Operation[int]:
        """Read the states of entities; return the server's time in ms."""
        partitions = self._deployment.partitions
        keys = [
            self._deployment.keys.partition(partition_of(each.id, partitions)).status(*each)
            for each in entities
        ]
        commands: list[Command] = [("TIME",)]
        for key in keys:
            # Unlike GET, MGET has no value for a key that holds something else.
            commands += [("MGET", key), ("EXISTS", key)]
        [seconds, microseconds], *found = yield from asked_all(commands, self._within)
        states = zip(entities, keys, found[::2], found[1::2], strict=True)
        for entity, key, [document], exists in states:
            status = status_in(document)
            spoilt = status is None and exists
            self._states[entity] = (
                Corrupt(f"{key} holds no status: mend or delete it") if spoilt else status
            )
        return 1000 * int(seconds) + int(microseconds) // 1000


def _of(update: Update) -> _Entity:
    return _Entity(str(update.__struct_config__.tag), update.id)
