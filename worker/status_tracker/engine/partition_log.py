"""What one partition tells the log: at once what is rare, once a minute what may come often."""

import logging
from collections.abc import Sequence
from itertools import repeat

from status_tracker.engine.batch import RejectedEntry
from status_tracker.engine.notices import Notice
from status_tracker.lua.attach import Attached

log: logging.Logger = logging.getLogger(__name__)


class PartitionLog:
    """The words of one partition."""

    def __init__(self, number: int, rejected_key: str) -> None:
        self._number = number
        self._name = f"partition {number}"
        self._rejected_key = rejected_key
        self._attached_before = False
        self._said_moved = False
        self._conflicts = Notice()
        self._rejected = Notice()
        self._dropped = Notice()
        self._example = ""

    def _about(self, event: str, **others: object) -> dict[str, object]:
        """Return what a line is about, besides its words."""
        return {"event": event, "partition": self._number, **others}

    def attached(self, found: Attached) -> None:
        """Say what was missing, replaced or lost."""
        name, created = self._name, ", ".join(found.created)
        if found.lost:
            log.warning(
                "%s: %d entries were trimmed or deleted before they were read: they are lost; trim "
                "below the last-delivered ID of the group only",
                name,
                found.lost,
                extra=self._about("entries_lost", count=found.lost),
            )
        if "ids" in found.created:
            log.warning(
                "%s: recreated its stream, for the last ID was of the future and left no room for "
                "others; reading on from %s",
                name,
                found.cursor,
                extra=self._about("stream_recreated"),
            )
        elif created and self._attached_before:
            log.warning(
                "%s: recreated %s, missing or replaced; reading on from %s",
                name,
                created,
                found.cursor,
                extra=self._about("keys_recreated"),
            )
        elif created:
            log.info(
                "%s: created %s; reading on from %s",
                name,
                created,
                found.cursor,
                extra=self._about("keys_created"),
            )
        self._attached_before = True

    def moved(self, cursor: str) -> None:
        """Say once that another worker commits here; that something is missing, `attached` says."""
        if cursor and not self._said_moved:
            self._said_moved = True
            log.warning(
                "%s: another worker moved the cursor to %s",
                self._name,
                cursor,
                extra=self._about("cursor_moved"),
            )

    def conflict(self, key: str) -> None:
        """Say that somebody else changed a status."""
        self._conflicts.add([key])
        for each, count in self._conflicts.take().items():
            times = "once" if count == 1 else f"{count} times"
            log.warning(
                "%s: %s was changed by someone else, %s; loading it again",
                self._name,
                each,
                times,
                extra=self._about("status_conflict", key=each, count=count),
            )

    def rejected(self, entries: Sequence[RejectedEntry]) -> None:
        """Count what was rejected, and say it when it is time to."""
        if entries:
            self._rejected.add(each.reason for each in entries)
            last = entries[-1]
            self._example = f"{last.stream} {last.id}: {last.reason}: {last.detail}"
        self._say_rejected()

    def dropped(self, count: int) -> None:
        """Count rejected entries that are gone, and say it when it is time to."""
        self._dropped.add(repeat("dropped", count))
        self._say_dropped()

    def at_rest(self) -> None:
        """Say what was counted, while nothing comes."""
        self._say_rejected()
        self._say_dropped()

    def _say_rejected(self) -> None:
        if self._rejected.is_due:  # asked at each commit
            counts = self._rejected.take()
            log.warning(
                "%s: %d entries rejected (%s), for example %s; they are kept in %s",
                self._name,
                counts.total(),
                ", ".join(f"{count} {reason}" for reason, count in counts.most_common()),
                self._example,
                self._rejected_key,
                extra=self._about("entries_rejected", count=counts.total(), reasons=dict(counts)),
            )

    def _say_dropped(self) -> None:
        count = self._dropped.take().total()
        if count:
            log.warning(
                "%s: max_rejected is reached: the %d oldest rejected entries are gone",
                self._name,
                count,
                extra=self._about("rejected_dropped", count=count),
            )
