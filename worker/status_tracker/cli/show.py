"""Rows for people: a table, or on a narrow terminal one line for each cell; and JSON."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from status_tracker.models import Status
from status_tracker.text import escaped

NARROW = 72
"""Columns under which a table that does not fit is no table any more."""

SHORT = 22
"""Characters of a cell that is not broken: as many as a time has, or an ID."""

Cells = Mapping[str, str]
"""Column → what stands in it."""


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document in a line."""
    click.echo(msgspec.json.encode(document))


def print_rows(rows: Sequence[Cells], *, right: Iterable[str] = ()) -> None:
    """Print rows as a table, without the columns in which nothing stands; nothing for no rows."""
    if not rows:
        return
    console = Console(highlight=False)
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    cells = [[escaped(row[name]) for name in columns] for row in rows]
    widths = [
        max(cell_len(name), *(cell_len(row[place]) for row in cells))
        for place, name in enumerate(columns)
    ]
    if console.width < NARROW and sum(widths) + 2 * len(widths) > console.width:
        for row in cells:
            for name, text in zip(columns, row, strict=True):
                if text:
                    console.print(Text(f"{name}: {text}"), soft_wrap=True)
            console.print()
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for name, width in zip(columns, widths, strict=True):
        side: Any = "right" if name in right else "left"
        table.add_column(name, overflow="fold", justify=side, no_wrap=width <= SHORT)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def status_cells(entity_id: str, status: Status) -> Cells:
    """Return an entity as a row."""
    return {
        "id": entity_id,
        "phase": status.phase,
        "progress": "" if status.progress is None else f"{status.progress:.0%}",
        "retries": "" if status.retries is None else str(status.retries),
        "attempt": "" if status.attempt is None else str(status.attempt),
        "updated": moment(status.updated_at),
        "error": status.error_message or "",
    }


def status_document(kind: str, entity_id: str, status: Status) -> dict[str, Any]:
    """Return an entity as its published document, with whom it is about."""
    return {"kind": kind, "id": entity_id, **msgspec.to_builtins(status)}


def moment(at: float) -> str:
    """Write milliseconds since the epoch as people read a time."""
    try:
        when = datetime.fromtimestamp(at / 1000, UTC)
    except (ValueError, OverflowError):
        return f"{at}"
    return f"{when:%Y-%m-%d %H:%M:%S}Z"
