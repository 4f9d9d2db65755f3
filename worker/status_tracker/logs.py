"""The log: a line for each event, as key=value where people read it, and else as JSON.

What a line is about stands in the call's `extra`: the name of the event, the partition, counts.
"""

import json
import logging
import re
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from status_tracker.text import escaped, escaped_lines

LogFormat = Literal["auto", "text", "json"]

WORKER: ContextVar[str] = ContextVar("worker", default="")
"""The name of the worker whose task says something; empty where it is none's."""

FIRST = ("event", "worker", "partition")
"""The fields that come first, where a line has them."""

_standard = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_plain = re.compile(r"[^\s\"=]+").fullmatch


def formatter(log_format: LogFormat, stream: TextIO | None) -> logging.Formatter:
    """Return what writes the lines of a log to a stream; `auto` asks whether it is a terminal."""
    is_terminal = stream is not None and stream.isatty()
    if log_format == "json" or (log_format == "auto" and not is_terminal):
        return JsonFormatter()
    return TextFormatter()


def write_log_as(log_format: LogFormat) -> None:
    """Have the command's own log be written in a format from here on."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, TextFormatter | JsonFormatter):
            handler.setFormatter(formatter(log_format, sys.stderr))


class TextFormatter(logging.Formatter):
    """For people: when, how bad, ``event=…``, the other fields, and the message.

    Whatever keys and producers put into it, it is one line; only a traceback has lines of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an event."""
        pairs = [f"{name}={_written(value)}" for name, value in fields(record).items()]
        said = f"msg={_quoted(record.getMessage())}"
        line = escaped(" ".join((self.formatTime(record), record.levelname, *pairs, said)))
        return "\n".join((line, *escaped_lines(_traceback(record)).split("\n"))).rstrip("\n")


class JsonFormatter(logging.Formatter):
    """For programs: one JSON document a line, in ASCII, so that no terminal obeys what is in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an event."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": at, "level": record.levelname.lower(), **fields(record)}
        line["msg"] = record.getMessage()
        if record.exc_info:
            line["traceback"] = _traceback(record)
        return json.dumps(line, default=str)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a line is about: its event, whose it is, then the rest.

    A library's lines have the name of its logger in place of an event.
    """
    given = {name: value for name, value in vars(record).items() if name not in _standard}
    given.setdefault("event", record.name)
    if worker := WORKER.get():
        given.setdefault("worker", worker)
    first = {name: given.pop(name) for name in FIRST if name in given}
    return first | given


def _written(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if _plain(text) else _quoted(text)


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace('"', r"\""))


def _traceback(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    return "".join(traceback.format_exception(*record.exc_info))
