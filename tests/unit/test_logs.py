"""The log: a line for each event, with its name, for people and for programs."""

import ast
import io
import json
import logging
import re
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path

import pytest
import status_tracker
from status_tracker.logs import WORKER, JsonFormatter, LogFormat, TextFormatter, formatter

ROOT = Path(__file__).parents[2]
SOURCE = Path(status_tracker.__file__).parent
LEVELS = ("debug", "info", "warning", "error", "exception")


def record(message: str, *arguments: object, **about: object) -> logging.LogRecord:
    """Return what a call of the log is made into."""
    made = logging.makeLogRecord(
        {"name": "any", "levelno": 30, "levelname": "WARNING", "msg": message, "args": arguments}
    )
    made.created, made.msecs = 1_700_000_000.123, 123.0
    vars(made).update(about)
    return made


def said_by(name: str, form: logging.Formatter, what: logging.LogRecord) -> str:
    """Return the line that a worker's task writes."""

    def say() -> str:
        WORKER.set(name)
        return form.format(what)

    return copy_context().run(say)


def test_a_line_for_people() -> None:
    """Event, worker and partition come first, what holds more than a word in quotes."""
    what = record("%d came", 3, count=3, key="a b", partition=0, event="entries_rejected")
    line = said_by("one", TextFormatter(), what)
    at, _, rest = line.partition(",123 ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", at)
    assert rest == (
        'WARNING event=entries_rejected worker=one partition=0 count=3 key="a b" msg="3 came"'
    )


def test_a_line_for_programs() -> None:
    """The same as a document, with the types that the fields have."""
    what = record("%d came", 3, reasons={"stale": 3}, partition=0, event="entries_rejected")
    line = said_by("one", JsonFormatter(), what)
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.123+00:00",
        "level": "warning",
        "event": "entries_rejected",
        "worker": "one",
        "partition": 0,
        "reasons": {"stale": 3},
        "msg": "3 came",
    }
    assert list(json.loads(line))[2:5] == ["event", "worker", "partition"]


def test_what_others_wrote_is_no_line_of_its_own() -> None:
    """Whatever a key put into a message, or into an error, a terminal is not told what to do."""
    error = ValueError("\x1b]0;owned\x07")
    name = "two\x1b[2J\nERROR\x9b\u202e"
    what = record("its lease is %s's now", name, exc_info=(type(error), error, None), event="e")
    first, *more = TextFormatter().format(what).split("\n")
    shown = r"two\x1b[2J\nERROR\x9b\u202e"
    assert first.endswith(f"""event=e msg="its lease is {shown}'s now\"""")
    assert more == [r"ValueError: \x1b]0;owned\x07"]
    line = JsonFormatter().format(what)
    assert line.isprintable()
    assert line.isascii()
    assert json.loads(line)["msg"] == f"its lease is {name}'s now"
    assert json.loads(line)["traceback"] == f"ValueError: {error}\n"


def test_a_line_of_somebody_else() -> None:
    """Asyncio and libraries name no event: their logger's name stands for it."""
    assert json.loads(JsonFormatter().format(record("slow")))["event"] == "any"
    assert "worker" not in json.loads(JsonFormatter().format(record("slow")))


class Terminal(io.StringIO):
    """A stream that people look at."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.mark.parametrize(
    ("log_format", "stream", "wanted"),
    [
        ("auto", Terminal(), TextFormatter),
        ("auto", io.StringIO(), JsonFormatter),
        ("auto", None, JsonFormatter),
        ("text", io.StringIO(), TextFormatter),
        ("json", Terminal(), JsonFormatter),
    ],
)
def test_who_reads_it_decides(
    log_format: LogFormat, stream: io.StringIO | None, wanted: type[logging.Formatter]
) -> None:
    """Unless the setting says otherwise."""
    assert type(formatter(log_format, stream)) is wanted


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield every call of a log in the package, with where it stands."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name("log"), attr=level)):
                    assert level in LEVELS
                    yield f"{path.relative_to(SOURCE)}:{node.lineno}", node


def event_of(call: ast.Call) -> tuple[str, str] | None:
    """Return the event and the level of a call."""
    extra = next((each.value for each in call.keywords if each.arg == "extra"), None)
    level = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    match extra:
        case ast.Dict(values=[ast.Constant(str(event)), *_]):
            return event, level
        case ast.Call(args=[ast.Constant(str(event))]):
            return event, level
    return None


def test_every_line_has_an_event_that_the_docs_explain() -> None:
    """Alerts and searches go by names: none is missing there, and none that is gone is left."""
    found = {where: event_of(call) for where, call in calls()}
    assert [where for where, event in found.items() if event is None] == []
    page = (ROOT / "docs/operating/logs.md").read_text()
    table = re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE)
    levels = {"exception": "error"}
    named = [each for each in found.values() if each]
    assert set(table) == {(event, levels.get(level, level)) for event, level in named}
