"""The rules: what an update does to an entity's status. Pure: no I/O, no clock.

The rules and their order are the contract's (docs/contract/rules.md); the numbers in the
comments are its numbers. Rules 1 and 2, about entries that are no update or belong elsewhere, are
settled before an update comes here.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal, final

from msgspec import Struct

from status_tracker.lifecycle import Edge
from status_tracker.models import Rejection, Status, Update
from status_tracker.rules import Rules
from status_tracker.text import listed


class _Nothing(Enum):
    DUPLICATE = "duplicate"


DUPLICATE: Final = _Nothing.DUPLICATE
"""The update says nothing new: the status stays as it is."""


@final
class Corrupt(Struct, frozen=True, gc=False):
    """What a status key holds when it holds no status."""

    detail: str


Outcome = Status | Literal[_Nothing.DUPLICATE] | Rejection
"""The new status where the update is applied, `DUPLICATE`, or why it is rejected."""


_TRANSITION = Edge.TRANSITION  # an enum's member costs ten times as much as a global
_NOWHERE: Mapping[str, Edge] = {}


class Fold:
    """What an update does to a status of one kind."""

    __slots__ = (
        *("initial", "_terminal", "_success", "_edges", "_max_retries", "_first_retries"),
        *("_max_clock_skew", "_clock_skew"),
    )

    def __init__(self, kind: str, rules: Rules) -> None:
        lifecycle = rules.kinds[kind]
        self.initial: frozenset[str] = lifecycle.initial
        self._terminal = lifecycle.terminal
        self._success = lifecycle.success
        self._edges = lifecycle.edges
        self._max_retries = lifecycle.max_retries
        # Always there for a kind that counts them, and never for another.
        self._first_retries = None if lifecycle.max_retries is None else 0
        self._max_clock_skew = rules.max_clock_skew
        self._clock_skew = rules.clock_skew

    def apply(  # noqa: C901 - see below
        self, status: Status | Corrupt | None, update: Update, received: int
    ) -> Outcome:
        """Apply an update to the status of its entity.

        `status` is None for an entity without one. `received` is when the stream took the entry, in
        milliseconds since the epoch: the first part of the entry's ID, or of the first one's where
        it was forwarded.

        Every event comes through it, so what is frequent stands in it, which is a quarter faster
        than with a function for each rule; what is rare has one of its own.
        """
        phase = update.phase
        at = update.updated_at
        if at > received + self._max_clock_skew:  # 3
            return _future(at, received, self._max_clock_skew)
        if status is None:  # 4
            return self._begin(update)
        if type(status) is Corrupt:  # 4
            return Rejection("corrupt_state", status.detail)
        attempt = status.attempt
        begins_attempt = False
        if update.attempt is not None and update.attempt != attempt:
            if attempt is not None:
                if update.attempt < attempt:  # 4a
                    return _superseded(update.attempt, attempt)
                begins_attempt = True  # 9
            attempt = update.attempt
        held = status.phase
        last = status.updated_at
        message = update.error_message
        # The larger one; where both are equal, in the form in which it came first: 1 or 1.0.
        progress = update.progress
        kept = status.progress
        if kept is not None and not begins_attempt and (progress is None or progress <= kept):
            progress = kept
        if phase == held:  # 5
            if phase in self._terminal:
                return DUPLICATE
            if at < last:
                return _stale(status, update)
            if message is None:
                message = status.error_message
            if begins_attempt and phase in self._success:  # 9
                progress = 1
            if (
                at == last
                and progress == kept
                and message == status.error_message
                and attempt == status.attempt
            ):
                return DUPLICATE
        else:
            edge = self._edges.get(held, _NOWHERE).get(phase)
            if edge is not _TRANSITION:
                return self._leap(edge, status, update, attempt, begins=begins_attempt)
            if last - at > self._clock_skew:  # 6
                return _stale(status, update)
            if phase in self._success:  # 8
                progress = 1
        retries = self._first_retries
        if retries is not None and status.retries:
            retries = status.retries
        # The later one, likewise.
        if at <= last:  # noqa: PLR1730 - max() would cost a fifth of all this
            at = last
        return Status(
            phase=phase,
            progress=progress,
            error_message=message,
            retries=retries,
            attempt=attempt,
            updated_at=at,
        )

    def is_forced(self, start: str | None, phase: str) -> bool:
        """Tell whether only `force` allows a step; `start` is None where a life begins."""
        if start is None:
            return phase not in self.initial
        return phase not in self._edges.get(start, _NOWHERE)

    def _begin(self, update: Update) -> Outcome:
        """Rule 4: the first status of an entity."""
        phase = update.phase
        if phase not in self.initial and not update.force:
            begins = " or ".join(sorted(self.initial))
            return Rejection(
                "unknown_entity",
                f"no status (it may have been removed), and none begins as {phase}: send {begins} "
                'first, or "force": true to begin there by hand',
            )
        return Status(
            phase=phase,
            progress=1 if phase in self._success else update.progress,
            error_message=update.error_message,
            retries=self._first_retries,
            attempt=update.attempt,
            updated_at=update.updated_at,
        )

    def _leap(
        self,
        edge: Edge | None,
        status: Status,
        update: Update,
        attempt: int | None,
        *,
        begins: bool,
    ) -> Outcome:
        """Rules 6 to 8 for another phase that no plain transition leads to.

        `begins` says whether a larger attempt than that of the status begins.
        """
        phase = update.phase
        if update.updated_at < status.updated_at:  # 6
            return _stale(status, update)
        if edge is None and not update.force:  # 7
            return self._illegal(status.phase, phase)
        retries = self._first_retries
        message = update.error_message
        is_done = phase in self._success and (edge is None or begins)  # 8, 9
        if edge is None and retries is not None:
            retries = status.retries or 0
        if edge is not None and message is None:
            message = status.error_message
        if edge is Edge.RETRY and not update.restart:
            retries = 1 + (status.retries or 0)
            if retries > (self._max_retries or 0):
                return Rejection(
                    "retries_exhausted",
                    f"{status.phase} -> {phase} after {self._max_retries} retries: "
                    'send "restart": true to begin again',
                )
        return Status(
            phase=phase,
            progress=1 if is_done else update.progress,
            error_message=message,
            retries=retries,
            attempt=attempt,
            # Not the update's where it is the same: the form in which it came first stays.
            updated_at=max(status.updated_at, update.updated_at),
        )

    def _illegal(self, start: str, phase: str) -> Rejection:
        may = listed(self._edges.get(start, _NOWHERE))
        follows = f"{may} may follow" if may else f"nothing may follow {start}"
        return Rejection(
            "illegal_transition",
            f'{start} -> {phase}; {follows}, or any phase by hand, with "force": true',
        )


def _future(at: int | float, received: int, allowed: int) -> Rejection:
    return Rejection(
        "future",
        f"updatedAt {at} is {at - received} ms after the entry was added ({received}), "
        f"over max_clock_skew ({allowed} ms): check the producer's clock",
    )


def _superseded(attempt: int, begun: int) -> Rejection:
    return Rejection("superseded", f"attempt {attempt}, but {begun} has begun")


def _stale(status: Status, update: Update) -> Rejection:
    return Rejection(
        "stale",
        f"{update.phase} at {update.updated_at} came after {status.phase} at {status.updated_at}",
    )
