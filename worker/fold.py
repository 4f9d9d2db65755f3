"""The rules: what an update does to an entity's status. Pure: no I/O, no clock.

The rules and their order are the contract's (README, "The rules"); the numbers in the comments are
its numbers. Rules 1 and 2, about entries that are no update or belong elsewhere, are settled before
an update comes here.
"""

from enum import Enum
from typing import Final, Literal, final

from msgspec import Struct

from worker.lifecycle import Edge, Lifecycle, Lifecycles
from worker.models import (
    AssetStatus,
    Rejected,
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


Outcome = Status | Literal[_Nothing.DUPLICATE] | Rejected
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

    def fold(self, status: Status | Corrupt | None, update: Update, received: int) -> Outcome:
        """Apply an update to the status of its entity.

        `status` is of the update's kind, None for an entity without one. `received` is when the
        stream took the entry, in milliseconds since the epoch: the first part of the entry's ID.
        """
        lifecycle = self._task if type(update) is TaskUpdate else self._asset
        phase = update.phase
        at = update.updated_at
        if at > received + self.max_clock_skew:  # 3
            return _future(at, received, self.max_clock_skew)
        if status is None:  # 4
            return _begin(lifecycle, update)
        if type(status) is Corrupt:  # 4
            return Rejected("corrupt_state", status.detail)
        if phase == status.phase:  # 5
            return _stay(lifecycle, status, update)
        edge = lifecycle.edges[status.phase].get(phase)
        if edge is _TRANSITION:
            if status.updated_at - at > self._clock_skew:  # 6
                return _stale(status, update)
            return _enter(lifecycle, status, update)  # 7
        if at < status.updated_at:  # 6
            return _stale(status, update)
        if edge is None:  # 7
            return Rejected("illegal_transition", f"{status.phase} -> {phase}")
        return _attempt(lifecycle, edge, status, update)


def _begin(lifecycle: Lifecycle, update: Update) -> Outcome:
    """Rule 4: the first status of an entity."""
    phase = update.phase
    if phase not in lifecycle.initial:
        begins = " or ".join(sorted(lifecycle.initial))
        return Rejected(
            "unknown_entity", f"no status yet, and none begins as {phase}: send {begins} first"
        )
    progress = 1 if phase in lifecycle.success else update.progress
    return _status(update, progress, update.error_message, 0, update.updated_at)


def _stay(lifecycle: Lifecycle, status: Status, update: Update) -> Outcome:
    """Rule 5: the same phase again."""
    if status.phase in lifecycle.terminal:
        return DUPLICATE
    at = update.updated_at
    if at < status.updated_at:
        return _stale(status, update)
    progress = _larger(status.progress, update.progress)
    message = update.error_message
    if message is None:
        message = status.error_message
    if at == status.updated_at:
        if progress == status.progress and message == status.error_message:
            return DUPLICATE
        at = status.updated_at  # the form it came in first: 1 or 1.0
    return _go_on(status, update, progress, message, at)


def _enter(lifecycle: Lifecycle, status: Status, update: Update) -> Status:
    """Rule 8, a transition."""
    if update.phase in lifecycle.success:
        progress: int | float | None = 1
    else:
        progress = _larger(status.progress, update.progress)
    return _go_on(status, update, progress, update.error_message, _later(status, update))


def _attempt(lifecycle: Lifecycle, edge: Edge, status: Status, update: Update) -> Outcome:
    """Rules 7 and 8, a retry or a restart: a new attempt."""
    retries = 0
    if edge is Edge.RETRY and not (type(update) is TaskUpdate and update.restart):
        retries = 1 + (status.retries if type(status) is TaskStatus else 0)
        if retries > lifecycle.max_retries:
            return Rejected(
                "retries_exhausted",
                f"{status.phase} -> {update.phase} after {lifecycle.max_retries} retries:"
                ' send "restart": true to begin again',
            )
    message = status.error_message if update.error_message is None else update.error_message
    return _status(update, update.progress, message, retries, _later(status, update))


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


def _go_on(
    status: Status,
    update: Update,
    progress: int | float | None,
    message: str | None,
    updated_at: int | float,
) -> Status:
    """The next status of an attempt that goes on: its retries stay."""
    if type(status) is TaskStatus and type(update) is TaskUpdate:
        return TaskStatus(
            phase=update.phase,
            progress=progress,
            error_message=message,
            retries=status.retries,
            updated_at=updated_at,
        )
    return _status(update, progress, message, 0, updated_at)


def _larger(held: int | float | None, given: int | float | None) -> int | float | None:
    """The larger progress, in the form in which it came first where both are equal."""
    if given is None or (held is not None and held >= given):
        return held
    return given


def _later(status: Status, update: Update) -> int | float:
    if update.updated_at > status.updated_at:
        return update.updated_at
    return status.updated_at


def _future(at: int | float, received: int, allowed: int) -> Rejected:
    return Rejected(
        "future",
        f"updatedAt {at} is {at - received} ms after the entry was added ({received}), "
        f"over max_clock_skew ({allowed} ms): check the producer's clock",
    )


def _stale(status: Status, update: Update) -> Rejected:
    return Rejected(
        "stale",
        f"{update.phase} at {update.updated_at} came after {status.phase} at {status.updated_at}",
    )
