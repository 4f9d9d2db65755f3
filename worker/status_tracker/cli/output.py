"""What leaves the command: escaped, and with an exit code of its own where it cannot leave."""

import io
import sys
from contextlib import suppress
from typing import Any

from status_tracker.errors import ClosedPipeError, OutputError


class _Output(io.FileIO):
    """Standard output whose failures are told from all others, wherever they come up."""

    _failed = False

    def write(self, data: Any) -> int:
        """Write; raises `OutputError`, once: what is left in buffers then goes nowhere."""
        if self._failed:
            return len(data)
        try:
            return super().write(data)
        except BrokenPipeError:
            self._failed = True
            raise ClosedPipeError from None
        except OSError as error:
            self._failed = True
            raise OutputError(f"the output cannot be written: {error.strerror}") from None


class _Errors(io.FileIO):
    """Standard error: where nobody can be told, the exit code still tells."""

    def write(self, data: Any) -> int:
        """Write, if it can be."""
        with suppress(OSError):
            return super().write(data)
        return len(data)


def guard_output() -> None:
    """Have whatever is printed raise `OutputError` where it cannot be written.

    Otherwise click ends in 1 where a pipe was closed, as if the fleet were not well. A character
    that the terminal's encoding does not have is escaped.
    """
    if sys.stdout is not None:  # closed before we began
        sys.stdout = _text_on(_Output(sys.stdout.fileno(), "wb", closefd=False), sys.stdout)
    if sys.stderr is not None:
        sys.stderr = _text_on(_Errors(sys.stderr.fileno(), "wb", closefd=False), sys.stderr)


def _text_on(raw: io.FileIO, like: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=like.encoding,
        errors="backslashreplace",
        line_buffering=like.line_buffering,
    )
