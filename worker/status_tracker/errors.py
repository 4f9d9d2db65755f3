"""The errors a user can cause, and the exit codes they end in."""

EXIT_NO = 1
"""The answer is no; nothing went wrong."""

EXIT_WARN = 3
"""`doctor`: nothing is wrong now, but something may become so."""

EXIT_DATA = 65
"""A file that was to be sent or imported holds what cannot be (EX_DATAERR)."""

EXIT_TIMEOUT = 124
"""The time to wait is up: what `timeout` says of a command that it ended."""

EXIT_CONFIG = 78
"""The configuration cannot work, or is not the one the deployment was created with (EX_CONFIG)."""

EXIT_UNAVAILABLE = 69
"""The server cannot be used now (EX_UNAVAILABLE)."""

EXIT_BUG = 70
"""Something happened that should not have: please report it (EX_SOFTWARE)."""

EXIT_OUTPUT = 74
"""What is printed cannot be written, for the disk is full, say (EX_IOERR)."""

EXIT_STOPPED = 130
"""Ctrl-C came before everything was done: what a shell says of a death by SIGINT."""

EXIT_PIPE = 141
"""Whoever read the output went away, as `head` does: what a shell says of a death by SIGPIPE."""


class CommandError(Exception):
    """What ends a command, in one line; in none where nobody needs to be told."""

    exit_code = EXIT_BUG


class ConfigError(CommandError):
    """A configuration that cannot work, in one line: the file, field or key, and the way out."""

    exit_code = EXIT_CONFIG


class UnavailableError(CommandError):
    """A server that cannot be used now, in one line: its URL without secrets, and why."""

    exit_code = EXIT_UNAVAILABLE


class OutputError(CommandError):
    """What is printed, or a file, cannot be written, in one line."""

    exit_code = EXIT_OUTPUT


class ClosedPipeError(OutputError):
    """Nobody reads the output any more; nobody needs to be told."""

    exit_code = EXIT_PIPE


class InputError(CommandError):
    """A file that cannot be sent or imported, in one line: its name, the line, what is there."""

    exit_code = EXIT_DATA


class UpdateError(ValueError):
    """An update that the deployment's rules refuse, in one line: what is there, and what may be."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        """The field as it is called on the wire, where it is one."""


class BacklogError(Exception):
    """The workers are too far behind: a partition has more unread entries than `max_backlog`."""


class FeedGapError(CommandError):
    """Changes after a token are not there any more: take a new snapshot, and go on from there."""

    exit_code = EXIT_NO
