"""The errors a user can cause, and the exit codes they end in."""

EXIT_CONFIG = 78
"""The configuration cannot work, or is not the one the deployment was created with (EX_CONFIG)."""

EXIT_UNAVAILABLE = 69
"""The server cannot be used now (EX_UNAVAILABLE)."""

EXIT_BUG = 70
"""Something happened that should not have: please report it (EX_SOFTWARE)."""


class ConfigError(Exception):
    """A configuration that cannot work, in one line: the file, field or key, and the way out."""

    exit_code = EXIT_CONFIG


class UnavailableError(Exception):
    """A server that cannot be used now, in one line: its URL without secrets, and why."""

    exit_code = EXIT_UNAVAILABLE
