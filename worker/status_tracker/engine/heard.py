"""What the owner of a partition remembers of silence: who was heard of late, and who is marked.

Pure: it is told of each commit. `maintenance/stalled.py` judges by it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from status_tracker.engine.statuses import Effects
from status_tracker.models import Change, Status
from status_tracker.rules import Rules
from status_tracker.units import Milliseconds

LATE = 1_000
"""Milliseconds from an update's own time to its entry's, from which on the latter is remembered."""


class Heard:
    """When the entities of one partition were last heard of.

    Mostly their `updatedAt` tells. Only of those whose updates are late, for their producer's clock
    is behind or the worker was, it is remembered. Times are milliseconds by the server's clock.
    """

    def __init__(self) -> None:
        self.cursor: str = ""
        """The ID of the last entry whose commit is in all this."""
        self._limits: Mapping[str, Mapping[str, Milliseconds]] = {}
        # By kind, the phase that ends what is stalled.
        self._ends: Mapping[str, str | None] = {}
        self._late_by = LATE
        self.awaited: defaultdict[str, set[str]] = defaultdict(set)
        """By kind: who is to be looked at some time; `maintenance/agenda.py` keeps it."""
        self.ended: defaultdict[str, set[str]] = defaultdict(set)
        """By kind: those among them who need not be looked at any more."""
        self.is_unsure: bool = False
        """Whether there may be more than is in all this: a batch was closed whose commit is not, or
        the server is away. Nobody is judged then."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything: updates may have come, or could not come, that are not known here."""
        self.era: object = object()
        """Another one whenever something was forgotten."""
        self.since: int | None = None
        """From when on all is known; None until somebody says what time it is."""
        self.horizon: float = 0
        """Who changes phase with an `updatedAt` before this is looked at, too."""
        self.late: defaultdict[str, dict[str, int]] = defaultdict(dict)
        """By kind: when the last update came of those whose `updatedAt` does not tell."""
        self.again: defaultdict[str, set[str]] = defaultdict(set)
        """By kind: who is to be looked at, though their place in the index was gone through."""
        self.marks: dict[str, set[str]] | None = None
        """By kind, who is marked, or may be; None until that was read."""
        self.doubted: defaultdict[str, set[str]] = defaultdict(set)
        """By kind, those among them whose mark was sent but not answered: it is sent again."""
        self.cleared: defaultdict[str, set[str]] | None = None
        """By kind, whose marks went with a commit while it was read who is marked; else None."""

    def attach(self, cursor: str, rules: Rules, *, has_marks: bool = True) -> None:
        """Go on from a cursor: with what is known, where that is where the last commit ended.

        Without `has_marks` nobody was marked after the cursor was found there.
        """
        limits = {kind: each.stalled for kind, each in rules.kinds.items() if each.stalled}
        ends = {kind: rules.kinds[kind].on_stalled for kind in limits}
        if (cursor, limits, ends) != (self.cursor, self._limits, self._ends):
            self.begin_anew()
            # A mark that is on its way from here, by an older cursor, is refused.
            if cursor != self.cursor and not has_marks:
                self.marks = {}
        self.cursor = cursor
        self.is_unsure = False
        self._limits, self._ends = limits, ends
        times = [time for of_kind in limits.values() for time in of_kind.values()]
        self._late_by = min([LATE, *(time // 2 for time in times)])

    def learned(self, marks: dict[str, set[str]]) -> None:
        """Take in who was marked, as it was read while commits went on."""
        for kind, ids in (self.cleared or {}).items():
            gone = marks.get(kind, set()) & ids
            marks.get(kind, set()).difference_update(gone)
            self.again[kind] |= gone
        self.marks = marks

    def closed(
        self, effects: Mapping[str, Effects], removed: Iterable[tuple[str, str]]
    ) -> dict[str, list[str]]:
        """Return, by kind, those of a batch's entities that are marked, or may be."""
        self.is_unsure = True
        if self.marks is not None and not any(self.marks.values()):
            return {}
        kinds: Mapping[str, set[str] | None] = dict.fromkeys(self._limits)
        if self.marks is not None:
            kinds = {kind: marked for kind, marked in self.marks.items() if marked}
        found: dict[str, list[str]] = {}
        for kind, marked in kinds.items():
            ids = {each for of_kind, each in removed if of_kind == kind}
            if kind in effects:
                ids |= effects[kind].after.keys()
            if marked is not None:
                ids &= marked
            if ids:
                found[kind] = sorted(ids)
        return found

    def note(
        self,
        cursor: str,
        effects: Mapping[str, Effects],
        changes: Iterable[Change],
        removed: Iterable[tuple[str, str]],
        marked: Mapping[str, Iterable[str]],
    ) -> None:
        """Take in what was committed, and whose marks went with it."""
        self.cursor = cursor
        self.is_unsure = False
        came = int(cursor.partition("-")[0])
        known_by = max(came - self._late_by, self.horizon)
        entered = [change for change in changes if change.updated_at < known_by]
        for kind, own in effects.items():
            if kind in self._limits:
                self._update(kind, own.after, entered, came, known_by)
        for kind, entity_id in removed:
            self.late[kind].pop(entity_id, None)
            self.again[kind].discard(entity_id)
            self._end(kind, {entity_id} & self.awaited[kind])
        for kind, ids in marked.items():
            if self.cleared is not None:
                self.cleared[kind].update(ids)
            if self.marks is not None:
                self.marks.get(kind, set()).difference_update(ids)
                self.doubted[kind].difference_update(ids)
                self.again[kind].update(ids)

    def _update(
        self,
        kind: str,
        after: Mapping[str, Status],
        entered: Iterable[Change],
        came: int,
        known_by: float,
    ) -> None:
        """Take in the statuses of one kind, and who entered a phase before `known_by`."""
        limits, late, again = self._limits[kind], self.late[kind], self.again[kind]
        found = {
            entity_id
            for entity_id, status in after.items()
            if status.updated_at < known_by and status.phase in limits
        }
        if not (found or entered or late or again or self.awaited[kind]):
            return
        were: set[str] = late.keys() & after.keys() if late else set()
        for entity_id in were - found:
            del late[entity_id]
        # Who ended before anybody looked need not be looked at: there may be very many.
        if again:
            again -= {each for each in again & after.keys() if after[each].phase not in limits}
        if awaited := self.awaited[kind] & after.keys():
            self._end(kind, (each for each in awaited if after[each].phase not in limits))
        if found:
            late |= dict.fromkeys(found, came)
            # Who was late before is looked at anyway, unless another limit holds now.
            again |= found - were
        if entered:
            # By one batch, an entity may enter a phase long ago, and be heard of just now.
            again |= {
                each.id
                for each in entered
                if each.kind == kind
                and (each.id in found or (each.updated_at < self.horizon and each.phase in limits))
            }

    def _end(self, kind: str, ids: Iterable[str]) -> None:
        """Note that entities need not be looked at, for whom that was meant."""
        ended = set(ids)
        self.ended[kind] |= ended
        self.awaited[kind] -= ended
