"""What users' tests import: the real rules and scripts on a server in memory.

pytest loads `plugin.py` in every run of those who have the package, so nothing is imported here
before it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from status_tracker.testing.kit import Kit

__all__ = ["Kit"]


def __getattr__(name: str) -> Any:
    if name != "Kit":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from status_tracker.testing.kit import Kit  # noqa: PLC0415 - see above

    return Kit
