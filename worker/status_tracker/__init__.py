"""Status tracker: streams of status updates in, one current status per entity out."""

from typing import TYPE_CHECKING, Any

from status_tracker.errors import (
    BacklogError,
    ConfigError,
    FeedGapError,
    UnavailableError,
    UpdateError,
)

if TYPE_CHECKING:
    from status_tracker.client.documents import (
        Found,
        Page,
        Rejected,
        RejectedPage,
        Snapshot,
        Stalled,
        StalledPage,
    )
    from status_tracker.client.emitter import AsyncEmitter, Emitter
    from status_tracker.client.reader import AsyncStatusReader, StatusReader
    from status_tracker.client.reporter import AsyncTaskReporter, TaskReporter
    from status_tracker.client.watching import FeedEvent
    from status_tracker.models import AssetUpdate, Change, Status, TaskUpdate, Update
    from status_tracker.rules import Rules

__all__ = [
    "AssetUpdate",
    "AsyncEmitter",
    "AsyncStatusReader",
    "AsyncTaskReporter",
    "BacklogError",
    "Change",
    "ConfigError",
    "Emitter",
    "FeedEvent",
    "FeedGapError",
    "Found",
    "Page",
    "Rejected",
    "RejectedPage",
    "Rules",
    "Snapshot",
    "Stalled",
    "StalledPage",
    "Status",
    "StatusReader",
    "TaskReporter",
    "TaskUpdate",
    "UnavailableError",
    "Update",
    "UpdateError",
]

_NAMES = {
    "client.documents": (
        *("Found", "Page", "Rejected", "RejectedPage", "Snapshot", "Stalled", "StalledPage"),
    ),
    "client.emitter": ("AsyncEmitter", "Emitter"),
    "client.reader": ("AsyncStatusReader", "StatusReader"),
    "client.reporter": ("AsyncTaskReporter", "TaskReporter"),
    "client.watching": ("FeedEvent",),
    "models": ("AssetUpdate", "Change", "Status", "TaskUpdate", "Update"),
    "rules": ("Rules",),
}
"""What each module has. Imported when it is asked for: nobody waits for a Redis client in vain."""


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 - else it were a name of this module

    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
