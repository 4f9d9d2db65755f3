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
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from tests.wire import Document, read_removal, read_update

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


KINDS: dict[str, Document] = {
    kind: {
        "phases": PHASES[kind],
        "initial": INITIAL[kind],
        "success": SUCCESS[kind],
        "terminal": TERMINAL[kind],
        "transitions": TRANSITIONS[kind],
        "retries": RETRIES[kind],
        "restarts": RESTARTS[kind],
    }
    for kind in PHASES
}
"""The kinds of a deployment, as tables of its rules."""
KINDS["task"]["max_retries"] = MAX_RETRIES


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
        kinds: Mapping[str, Document] = KINDS,
        max_event_bytes: int = 65_536,
        max_clock_skew: int = 60_000,
        clock_skew: int = 1_000,
    ) -> None:
        self.partitions = partitions
        self.kinds = kinds
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
    def endings(self) -> Counter[tuple[str, str]]:
        """As what all entries ended: outcome and reason."""
        others = {
            ("applied", ""): self.applied,
            ("duplicate", ""): self.duplicates,
            ("forwarded", ""): len(self.forwards),
        }
        return +Counter(others) + Counter(("rejected", each.reason) for each in self.rejected)

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

    def histories(self, most: int) -> dict[Entity, list[Document]]:
        """Each entity's last changes, newest first, so many at most; without any is no item."""
        found: dict[Entity, list[Document]] = {}
        for change in self.changes:
            for kind, entity_id in change.get("removed", []):
                found.pop((kind, entity_id), None)
            if "removed" not in change:
                found.setdefault((change["kind"], change["id"]), []).insert(0, change)
        return {entity: kept[:most] for entity, kept in found.items() if most}

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
        return self._count(partition, entry_id, self._apply(partition, entry_id, data, origin))

    def _apply(
        self, partition: int, entry_id: str, data: bytes | None, origin: str | None
    ) -> Outcome:
        update, fault = read_update(data, self.max_event_bytes, self.kinds)  # rule 1
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
        verdict = self._fold(entity, update, received)  # rules 3 to 9
        if verdict == "duplicate":
            self.duplicates += 1
            return "duplicate"
        if isinstance(verdict, str):
            return self._reject(verdict, partition, entry_id, data)
        self._write(entity, verdict, update, entry_id)
        self.applied += 1
        return "applied"

    def remove(self, partition: int, entry_id: str, value: bytes) -> Outcome:
        """Take the next entry of a stream, of whose field `remove` this is the value."""
        return self._count(partition, entry_id, self._remove(partition, entry_id, value))

    def _count(self, partition: int, entry_id: str, outcome: Outcome) -> Outcome:
        self.cursors[partition] = entry_id
        self.entries[partition] += 1
        field = {"duplicate": "duplicates"}.get(outcome, outcome)
        if outcome == "rejected":
            field = f"rejected:{self.rejected[-1].reason}"
        self.totals[partition].update(["entries", field])
        return outcome

    def _remove(self, partition: int, entry_id: str, value: bytes) -> Outcome:
        if len(value) > self.max_event_bytes:
            return self._reject("oversized", partition, entry_id, value)
        wanted = read_removal(value)
        if wanted is None or any(self.home(each[1]) != partition for each in wanted):
            return self._reject("invalid", partition, entry_id, value)
        removed = []
        for kind, entity_id, *condition in wanted:
            status = self.statuses.get((kind, entity_id))
            if status is None or (kind, entity_id) in self.corrupt:
                continue
            if condition in ([], [status["updatedAt"], status["phase"]]):
                del self.statuses[kind, entity_id], self.entered[kind, entity_id]
                removed.append([kind, entity_id])
        if not removed:
            self.duplicates += 1
            return "duplicate"
        self.changes.append({"removed": removed})
        self.applied += 1
        return "applied"

    def _reject(self, reason: str, partition: int, entry_id: str, data: bytes | None) -> Outcome:
        kept = (data or b"")[: self.max_event_bytes]
        self.rejected.append(Rejection(reason, partition, entry_id, kept))
        return "rejected"

    def _write(self, entity: Entity, status: Document, update: Document, entry_id: str) -> None:
        before = self.statuses.get(entity)
        self.statuses[entity] = status
        if before is not None and before["phase"] == status["phase"]:
            return
        self.entered[entity] = status["updatedAt"]
        change = {**status, "kind": entity[0], "id": entity[1], "event": entry_id}
        if before is not None:
            change["from"] = before["phase"]
        if update.get("force") and not self._is_allowed(entity[0], before, status["phase"]):
            change["forced"] = True
        self.changes.append(change)

    def _is_allowed(self, kind: str, before: Document | None, phase: str) -> bool:
        """Tell whether a lifecycle has a step."""
        table = self.kinds[kind]
        if before is None:
            return phase in table["initial"]
        edges = (table.get(name, {}) for name in ("transitions", "retries", "restarts"))
        return any(phase in each.get(before["phase"], []) for each in edges)

    def _fold(  # noqa: C901 - the rules in their order
        self, entity: Entity, update: Document, received: int
    ) -> Document | str:
        """Rules 3 to 9: return the new status, ``duplicate``, or the reason of a rejection."""
        table = self.kinds[entity[0]]
        new = update["phase"]
        at = update["updatedAt"]
        force = update.get("force", False)
        if at > received + self.max_clock_skew:  # rule 3
            return "future"
        if entity in self.corrupt:  # rule 4
            return "corrupt_state"
        status = self.statuses.get(entity)
        if status is None:  # rule 4
            if new not in table["initial"] and not force:
                return "unknown_entity"
            progress = 1 if new in table["success"] else update.get("progress")
            return _document(table, update, progress, update.get("errorMessage"), 0)
        if update.get("attempt", status.get("attempt", 0)) < status.get("attempt", 0):  # rule 4a
            return "superseded"
        later = {
            "phase": new,
            "updatedAt": _larger(status, update, "updatedAt"),
            "attempt": _larger(status, update, "attempt"),
        }
        # Rule 9.
        begun = "attempt" in status and later["attempt"] > status["attempt"]
        old = status["phase"]
        if new == old:  # rule 5
            return _same_phase(table, status, update, later, begun=begun)
        transition = new in table["transitions"].get(old, [])
        retry = new in table.get("retries", {}).get(old, [])
        restart = new in table.get("restarts", {}).get(old, [])
        restart = restart or (retry and update.get("restart", False))
        if at < status["updatedAt"]:  # rule 6
            if not (transition and status["updatedAt"] - at <= self.clock_skew):
                return "stale"
        elif not (restart or retry or transition or force):  # rule 7
            return "illegal_transition"
        retries = status.get("retries", 0)
        progress = update.get("progress")
        message = update.get("errorMessage")
        if restart or retry:  # rule 8
            if not restart and retries >= table["max_retries"]:
                return "retries_exhausted"
            retries = 0 if restart else retries + 1
            message = _given(update, status)
        elif transition and not begun:
            progress = _larger(status, update, "progress")
        if new in table["success"] and (begun or not (restart or retry)):
            progress = 1
        return _document(table, later, progress, message, retries)


def _same_phase(
    table: Document, status: Document, update: Document, later: Document, *, begun: bool
) -> Document | str:
    """Rule 5."""
    if status["phase"] in table["terminal"]:
        return "duplicate"
    if update["updatedAt"] < status["updatedAt"]:
        return "stale"
    progress = _larger(status, update, "progress")
    if begun:
        progress = 1 if status["phase"] in table["success"] else update.get("progress")
    new = _document(table, later, progress, _given(update, status), status.get("retries", 0))
    # A status without retries of a kind that counts them has 0.
    message, retries = status.get("errorMessage"), status.get("retries", 0)
    was = _document(table, status, status.get("progress"), message, retries)
    return "duplicate" if new == was else new


def _document(
    table: Document, source: Document, progress: float | None, message: str | None, retries: int
) -> Document:
    """Put a status together, with its fields in the contract's order and absent ones left out."""
    document = {"phase": source["phase"]}
    if progress is not None:
        document["progress"] = progress
    if message is not None:
        document["errorMessage"] = message
    if "max_retries" in table:
        document["retries"] = retries
    if source.get("attempt") is not None:
        document["attempt"] = source["attempt"]
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


def canonical(value: object) -> str:
    """Return a text that is equal for equal documents: 1 and 1.0 differ, the order is nothing."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def retries(changes: Iterable[Document]) -> Counter[str]:
    """Return how many retries changes count, by kind."""
    counts: dict[Entity, int] = {}
    found: Counter[str] = Counter()
    for change in changes:
        if "removed" not in change:
            entity = (change["kind"], change["id"])
            found[change["kind"]] += change.get("retries", 0) > counts.get(entity, 0)
            counts[entity] = change.get("retries", 0)
    return +found
