"""Status tracker: streams of status updates in, one current status per entity out."""

from status_tracker.errors import ConfigError, UnavailableError

__all__ = ["ConfigError", "UnavailableError"]
