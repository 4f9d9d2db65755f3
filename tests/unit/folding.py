"""The worker's pure half without its loop: one entity store, one entry at a time."""

import json

import msgspec
from status_tracker.decode import Decoder, Removing, find_data, invalid_id
from status_tracker.fold import DUPLICATE, Corrupt, Fold
from status_tracker.models import Rejection, Status, Update
from status_tracker.rules import Rules

from tests.line import RULES

DECODER = Decoder(RULES)


def read(data: bytes, decoder: Decoder = DECODER) -> Update | Rejection:
    """Decode an update and check its id, as is done with the first update of an id."""
    update = decoder.decode(data)
    if isinstance(update, Rejection):
        return update
    return invalid_id(update.id) or update


def text(document: bytes | object) -> str:
    """Return JSON in one spelling, which keeps the order of fields and tells 1 from 1.0."""
    value = json.loads(document) if isinstance(document, bytes) else document
    return json.dumps(value, ensure_ascii=False)


def published(status: Status) -> str:
    """Return a status as its key holds it, in the spelling of `text`."""
    return text(msgspec.json.encode(status))


class Folder:
    """Folds entries one by one, and keeps every status that an entity had."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.histories: dict[tuple[str, str], list[Status]] = {}
        self.corrupt: dict[tuple[str, str], Corrupt] = {}
        self._decoder = Decoder(rules)
        self._folds = {kind: Fold(kind, rules) for kind in rules.kinds}

    def apply(self, data: bytes | None, received: int) -> str:
        """Return ``applied``, ``duplicate``, or the reason why the entry is rejected.

        An entry without `data` is None.
        """
        found = find_data([b"step", b"3"] if data is None else [b"data", data])
        update = read(found, self._decoder) if isinstance(found, bytes) else found
        assert not isinstance(update, Removing)
        if isinstance(update, Rejection):
            return update.reason
        entity = (self._decoder.kinds[type(update)], update.id)
        history = self.histories.get(entity)
        held = history[-1] if history else self.corrupt.get(entity)
        outcome = self._folds[entity[0]].apply(held, update, received)
        if outcome is DUPLICATE:
            return "duplicate"
        if isinstance(outcome, Rejection):
            return outcome.reason
        self.histories.setdefault(entity, []).append(outcome)
        return "applied"

    def documents(self) -> dict[tuple[str, str], str]:
        """Return every status as it would be published."""
        return {entity: published(history[-1]) for entity, history in self.histories.items()}
