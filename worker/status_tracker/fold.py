"""The rules: what an update does to an entity's status. Pure: no I/O, no clock.

The rules and their order are the contract's (README, "The rules"); the numbers in the comments are
its numbers. Rules 1 and 2, about entries that are no update or belong elsewhere, are settled before
an update comes here.
"""

from enum import Enum
from typing import Final, Literal, final

from msgspec import Struct

from status_tracker.lifecycle import Edge, Lifecycle, Lifecycles
from status_tracker.models import (
    AssetStatus,
    Rejection,
    Status,
    TaskStatus,
    TaskUpdate,
    Update,
)


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


class Rules:
    """The fold for given lifecycles; both skews in milliseconds."""

    __slots__ = ("_asset", "_clock_skew", "_task", "lifecycles", "max_clock_skew")

    def __init__(self, lifecycles: Lifecycles, *, max_clock_skew: int, clock_skew: int) -> None:
        self.lifecycles = lifecycles
        self._task = lifecycles["task"]
        self._asset = lifecycles["asset"]
        self.max_clock_skew = max_clock_skew
        self._clock_skew = clock_skew

    def fold(  # noqa: C901 - see below
        self, status: Status | Corrupt | None, update: Update, received: int
    ) -> Outcome:
        """Apply an update to the status of its entity.

        `status` is of the update's kind, None for an entity without one. `received` is when the
        stream took the entry, in milliseconds since the epoch: the first part of the entry's ID.

        Every event comes through it, so what is frequent stands in it, which is a quarter faster
        than with a function for each rule; what is rare has one of its own.
        """
        lifecycle = self._task if type(update) is TaskUpdate else self._asset
        phase = update.phase
        at = update.updated_at
        if at > received + self.max_clock_skew:  # 3
            return _future(at, received, self.max_clock_skew)
        if status is None:  # 4
            return _begin(lifecycle, update)
        if type(status) is Corrupt:  # 4
            return Rejection("corrupt_state", status.detail)
        held = status.phase
        last = status.updated_at
        message = update.error_message
        # The larger one; where both are equal, in the form in which it came first: 1 or 1.0.
        progress = status.progress
        given = update.progress
        if given is not None and (progress is None or given > progress):
            progress = given
        if phase == held:  # 5
            if phase in lifecycle.terminal:
                return DUPLICATE
            if at < last:
                return _stale(status, update)
            if message is None:
                message = status.error_message
            if at == last and progress == status.progress and message == status.error_message:
                return DUPLICATE
        else:
            edge = lifecycle.edges[held].get(phase)
            if edge is not _TRANSITION:
                return _attempt(lifecycle, edge, status, update)
            if last - at > self._clock_skew:  # 6
                return _stale(status, update)
            if phase in lifecycle.success:  # 8
                progress = 1
        # The later one, likewise.
        if at <= last:  # noqa: PLR1730 - max() would cost a fifth of all this
            at = last
        if type(update) is TaskUpdate and type(status) is TaskStatus:
            return TaskStatus(
                phase=update.phase,
                progress=progress,
                error_message=message,
                retries=status.retries,
                updated_at=at,
            )
        return _status(update, progress, message, 0, at)


def _begin(lifecycle: Lifecycle, update: Update) -> Outcome:
    """Rule 4: the first status of an entity."""
    phase = update.phase
    if phase not in lifecycle.initial:
        begins = " or ".join(sorted(lifecycle.initial))
        return Rejection(
            "unknown_entity", f"no status yet, and none begins as {phase}: send {begins} first"
        )
    progress = 1 if phase in lifecycle.success else update.progress
    return _status(update, progress, update.error_message, 0, update.updated_at)


def _attempt(lifecycle: Lifecycle, edge: Edge | None, status: Status, update: Update) -> Outcome:
    """Rules 6 to 8 for another phase that no plain transition leads to: a new attempt."""
    phase = update.phase
    if update.updated_at < status.updated_at:  # 6
        return _stale(status, update)
    if edge is None:  # 7
        return Rejection("illegal_transition", f"{status.phase} -> {phase}")
    retries = 0
    if edge is Edge.RETRY and not (type(update) is TaskUpdate and update.restart):
        retries = 1 + (status.retries if type(status) is TaskStatus else 0)
        if retries > lifecycle.max_retries:
            return Rejection(
                "retries_exhausted",
                f"{status.phase} -> {phase} after {lifecycle.max_retries} retries:"
                ' send "restart": true to begin again',
            )
    message = status.error_message if update.error_message is None else update.error_message
    # Not the update's where it is the same: the form in which it came first stays.
    at = max(status.updated_at, update.updated_at)
    return _status(update, update.progress, message, retries, at)


def _status(
    update: Update,
    progress: int | float | None,
    message: str | None,
    retries: int,
    updated_at: int | float,
) -> Status:
    if type(update) is TaskUpdate:
        return TaskStatus(
            phase=update.phase,
            progress=progress,
            error_message=message,
            retries=retries,
            updated_at=updated_at,
        )
    return AssetStatus(
        phase=update.phase, progress=progress, error_message=message, updated_at=updated_at
    )


def _future(at: int | float, received: int, allowed: int) -> Rejection:
    return Rejection(
        "future",
        f"updatedAt {at} is {at - received} ms after the entry was added ({received}), "
        f"over max_clock_skew ({allowed} ms): check the producer's clock",
    )


def _stale(status: Status, update: Update) -> Rejection:
    return Rejection(
        "stale",
        f"{update.phase} at {update.updated_at} came after {status.phase} at {status.updated_at}",
    )
