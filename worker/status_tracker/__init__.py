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
    from status_tracker.client.emitter import AsyncEmitter, Emitter
    from status_tracker.client.reader import AsyncStatusReader, StatusReader
    from status_tracker.client.reporter import AsyncTaskReporter, TaskReporter
    from status_tracker.models import AssetUpdate, Status, TaskUpdate

__all__ = [
    "AssetUpdate",
    "AsyncEmitter",
    "AsyncStatusReader",
    "AsyncTaskReporter",
    "BacklogError",
    "ConfigError",
    "Emitter",
    "FeedGapError",
    "Status",
    "StatusReader",
    "TaskReporter",
    "TaskUpdate",
    "UnavailableError",
    "UpdateError",
]

_MODULES = {
    "AssetUpdate": "models",
    "AsyncEmitter": "client.emitter",
    "AsyncStatusReader": "client.reader",
    "AsyncTaskReporter": "client.reporter",
    "Emitter": "client.emitter",
    "Status": "models",
    "StatusReader": "client.reader",
    "TaskReporter": "client.reporter",
    "TaskUpdate": "models",
}
"""Where each name is. Imported when it is asked for: nobody waits for a Redis client in vain."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - else it were a name of this module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
