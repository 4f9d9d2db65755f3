"""A plain, slow model of the contract, written from it alone; the real worker is compared with it.

Feed it the entries of every partition's stream, in each stream's order::

    model = Model(partitions=4)
    model.apply(2, "1700000000000-0", b'{"kind":"task", ...}')   # → "applied"
    model.statuses["task", "09F8B46C"]                           # → the document, as a dict

A forwarded update is not applied to its own partition by itself: a server adds it to that stream as
a new entry, with an ID of its own, and so does whoever feeds the model (`forwards` has them).

Left open here, as in the contract: strings with half a surrogate pair, brackets nested and digits
strung together by the thousand.
"""

import json
import re
import unicodedata
import zlib
from collections import Counter
from typing import Any, Literal, NamedTuple

Document = dict[str, Any]
"""A JSON object; the order of its keys is the order of the fields."""
Entity = tuple[str, str]
"""Kind and id."""
Outcome = Literal["applied", "duplicate", "forwarded", "rejected"]

PHASES = {
    "task": ["pending", "waiting", "running", "failed", "completed", "cancelled"],
    "asset": ["uploading", "waiting", "processing", "ready", "failed", "deleting", "deleted"],
}
INITIAL = {"task": ["pending"], "asset": ["uploading", "waiting"]}
SUCCESS = {"task": ["completed"], "asset": ["ready"]}
TERMINAL = {"task": ["completed"], "asset": ["deleted"]}
MAX_RETRIES = 3

TRANSITIONS: dict[str, dict[str, list[str]]] = {
    "task": {
        "pending": ["waiting", "failed", "cancelled"],
        "waiting": ["running", "failed", "cancelled"],
        "running": ["completed", "failed", "cancelled"],
    },
    "asset": {
        "uploading": ["waiting", "failed", "deleting"],
        "waiting": ["processing", "ready", "failed", "deleting"],
        "processing": ["ready", "failed", "deleting"],
        "ready": ["deleting"],
        "failed": ["deleting"],
        "deleting": ["deleted", "ready"],
    },
}
RETRIES: dict[str, dict[str, list[str]]] = {
    "task": {"running": ["waiting"], "failed": ["pending", "waiting"]},
    "asset": {},
}
RESTARTS: dict[str, dict[str, list[str]]] = {
    "task": {"cancelled": ["pending", "waiting"]},
    "asset": {"failed": ["waiting", "processing"]},
}


class Rejection(NamedTuple):
    """An entry that was not applied: its bytes are cut to the limit, b"" where it had no `data`."""

    reason: str
    partition: int
    id: str
    data: bytes


class Forward(NamedTuple):
    """An update that is added to the stream of the partition it belongs to."""

    partition: int
    data: bytes
    origin: str
    """Where it comes from: ``<partition>/<ID>``."""


class Model:
    """All partitions of one deployment; look at the attributes, write to none but `corrupt`."""

    def __init__(
        self,
        partitions: int = 4,
        *,
        max_event_bytes: int = 65_536,
        max_clock_skew: int = 60_000,
        clock_skew: int = 1_000,
    ) -> None:
        self.partitions = partitions
        self.max_event_bytes = max_event_bytes
        self.max_clock_skew = max_clock_skew
        self.clock_skew = clock_skew
        # The published documents.
        self.statuses: dict[Entity, Document] = {}
        # The status's `updatedAt` when it entered its phase: the score in the phase's set.
        self.entered: dict[Entity, int | float] = {}
        # Entities whose key holds something that is no status: for the test to fill.
        self.corrupt: set[Entity] = set()
        # The change feed, over all partitions in the order of `apply`.
        self.changes: list[Document] = []
        self.rejected: list[Rejection] = []
        self.forwards: list[Forward] = []
        self.applied = 0
        self.duplicates = 0
        # For each partition, as in `status:partition:{p}`.
        self.cursors = dict.fromkeys(range(partitions), "0-0")
        self.entries = dict.fromkeys(range(partitions), 0)
        self.totals: dict[int, Counter[str]] = {each: Counter() for each in range(partitions)}

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """How many entities are in each ``(kind, phase)``; none is no item."""
        return {key: len(ids) for key, ids in self.phases.items()}

    @property
    def phases(self) -> dict[tuple[str, str], dict[str, int | float]]:
        """The ids in each ``(kind, phase)``, with their scores; an empty set is no item."""
        found: dict[tuple[str, str], dict[str, int | float]] = {}
        for (kind, entity_id), status in self.statuses.items():
            score = self.entered[kind, entity_id]
            found.setdefault((kind, status["phase"]), {})[entity_id] = score
        return found

    def home(self, entity_id: str) -> int:
        """Return the partition that an entity belongs to."""
        return zlib.crc32(entity_id.encode("utf-8")) % self.partitions

    def apply(
        self, partition: int, entry_id: str, data: bytes | None, origin: str | None = None
    ) -> Outcome:
        """Take the next entry of a partition's stream, and say what became of it.

        `data` and `origin` are the values of its fields `data` and `from`, None where it has none.
        ``rejected[-1]`` has a reason.
        """
        outcome = self._apply(partition, entry_id, data, origin)
        field = {"duplicate": "duplicates"}.get(outcome, outcome)
        if outcome == "rejected":
            field = f"rejected:{self.rejected[-1].reason}"
        self.totals[partition].update(["entries", field])
        return outcome

    def _apply(
        self, partition: int, entry_id: str, data: bytes | None, origin: str | None
    ) -> Outcome:
        self.cursors[partition] = entry_id
        self.entries[partition] += 1
        update, fault = _read(data, self.max_event_bytes)  # rule 1
        if update is None:
            return self._reject(fault, partition, entry_id, data)
        home = self.home(update["id"])
        if home != partition:  # rule 2
            self.forwards.append(Forward(home, data or b"", f"{partition}/{entry_id}"))
            return "forwarded"
        entity = (update["kind"], update["id"])
        received = int(entry_id.split("-", maxsplit=1)[0])
        if origin is not None and re.fullmatch(r"\d{1,4}/\d{1,20}-\d{1,20}", origin):
            received = min(received, int(origin.partition("/")[2].partition("-")[0]))
        verdict = self._fold(entity, update, received)  # rules 3 to 8
        if verdict == "duplicate":
            self.duplicates += 1
            return "duplicate"
        if isinstance(verdict, str):
            return self._reject(verdict, partition, entry_id, data)
        self._write(entity, verdict, entry_id)
        self.applied += 1
        return "applied"

    def _reject(self, reason: str, partition: int, entry_id: str, data: bytes | None) -> Outcome:
        kept = (data or b"")[: self.max_event_bytes]
        self.rejected.append(Rejection(reason, partition, entry_id, kept))
        return "rejected"

    def _write(self, entity: Entity, status: Document, entry_id: str) -> None:
        before = self.statuses.get(entity)
        self.statuses[entity] = status
        if before is not None and before["phase"] == status["phase"]:
            return
        self.entered[entity] = status["updatedAt"]
        change = {**status, "kind": entity[0], "id": entity[1], "event": entry_id}
        if before is not None:
            change["from"] = before["phase"]
        self.changes.append(change)

    def _fold(self, entity: Entity, update: Document, received: int) -> Document | str:
        """Rules 3 to 8: return the new status, ``duplicate``, or the reason of a rejection."""
        kind = entity[0]
        new = update["phase"]
        at = update["updatedAt"]
        if at > received + self.max_clock_skew:  # rule 3
            return "future"
        if entity in self.corrupt:  # rule 4
            return "corrupt_state"
        status = self.statuses.get(entity)
        if status is None:  # rule 4
            if new not in INITIAL[kind]:
                return "unknown_entity"
            return _document(kind, update, update.get("progress"), update.get("errorMessage"), 0)
        old = status["phase"]
        if new == old:  # rule 5
            return _same_phase(kind, status, update)
        transition = new in TRANSITIONS[kind].get(old, [])
        retry = new in RETRIES[kind].get(old, [])
        restart = new in RESTARTS[kind].get(old, []) or (retry and update.get("restart", False))
        if at < status["updatedAt"]:  # rule 6
            if not (transition and status["updatedAt"] - at <= self.clock_skew):
                return "stale"
        elif not (restart or retry or transition):  # rule 7
            return "illegal_transition"
        if transition:  # rule 8
            progress = 1 if new in SUCCESS[kind] else _larger(status, update, "progress")
            message = update.get("errorMessage")
            retries = status.get("retries", 0)
        else:
            if not restart and status["retries"] >= MAX_RETRIES:
                return "retries_exhausted"
            retries = 0 if restart else status["retries"] + 1
            progress = update.get("progress")
            message = _given(update, status)
        later = {"phase": new, "updatedAt": _larger(status, update, "updatedAt")}
        return _document(kind, later, progress, message, retries)


def _same_phase(kind: str, status: Document, update: Document) -> Document | str:
    """Rule 5."""
    if status["phase"] in TERMINAL[kind]:
        return "duplicate"
    if update["updatedAt"] < status["updatedAt"]:
        return "stale"
    progress = _larger(status, update, "progress")
    later = {"phase": status["phase"], "updatedAt": _larger(status, update, "updatedAt")}
    retries = status.get("retries", 0)
    new = _document(kind, later, progress, _given(update, status), retries)
    return "duplicate" if new == status else new


def _document(
    kind: str, source: Document, progress: float | None, message: str | None, retries: int
) -> Document:
    """Put a status together, with its fields in the contract's order and absent ones left out."""
    document = {"phase": source["phase"]}
    if progress is not None:
        document["progress"] = progress
    if message is not None:
        document["errorMessage"] = message
    if kind == "task":
        document["retries"] = retries
    document["updatedAt"] = source["updatedAt"]
    return document


def _larger(status: Document, update: Document, name: str) -> Any:
    """Return the larger of two numbers, the status's where they are equal, None without any."""
    held, given = status.get(name), update.get(name)
    if held is None or given is None:
        return held if given is None else given
    return max(held, given)  # the first of equals


def _given(update: Document, status: Document) -> Any:
    """Return the update's message, or else the status's."""
    return update.get("errorMessage", status.get("errorMessage"))


def _read(data: bytes | None, max_event_bytes: int) -> tuple[Document | None, str]:
    """Rule 1: return the update without its unknown and null fields, or why it is none."""
    if data is None:
        return None, "malformed"
    if len(data) > max_event_bytes:
        return None, "oversized"
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_json)
    except ValueError:
        return None, "malformed"
    if not isinstance(value, dict) or value.get("kind") not in ("task", "asset"):
        return None, "invalid"
    known = ["kind", "id", "phase", "updatedAt", "progress", "errorMessage"]
    if value["kind"] == "task":
        known.append("restart")
    update = {name: value[name] for name in known if name in value}
    for optional in ("progress", "errorMessage"):
        if update.get(optional, "") is None:
            del update[optional]
    return (update, "") if _fits(update) else (None, "invalid")


def _fits(update: Document) -> bool:
    """Section 4: check every field of an update."""
    entity_id = update.get("id")
    if not (isinstance(entity_id, str) and 1 <= len(entity_id) <= 256):
        return False
    if any(c in "{}" or c.isspace() or unicodedata.category(c) == "Cc" for c in entity_id):
        return False
    return (
        update.get("phase") in PHASES[update["kind"]]
        and _between(1e11, update.get("updatedAt"), 2**53)
        and _between(0, update.get("progress", 0), 1)
        and isinstance(update.get("errorMessage", ""), str)
        and isinstance(update.get("restart", False), bool)
    )


def _between(low: float, value: object, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low <= value <= high


def _no_json(name: str) -> None:
    """Refuse NaN and Infinity, which Python's reader takes."""
    raise ValueError(f"{name} is not JSON")


def canonical(value: object) -> str:
    """Return a text that is equal for equal documents: 1 and 1.0 differ, the order is nothing."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
