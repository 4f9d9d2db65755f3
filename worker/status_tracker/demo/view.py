"""The live view of the demo: the keys as a picture, on a terminal of 80 x 24 or more."""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging.handlers import MemoryHandler

from msgspec import Struct
from rich.console import Console, ConsoleDimensions, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from status_tracker.demo.pages import Places
from status_tracker.demo.snapshot import Reader, Snapshot
from status_tracker.models import Change, Status

REFRESH = 0.125
"""Seconds between two pictures."""

HEADER = 2
"""Lines."""

COUNTS = (24, 17)
"""Columns and lines of the counts: two headings and 13 phases in a frame."""

CHANGES = 50
"""Columns of the phase changes, on a terminal that is wide enough."""

WIDE = 130
"""Columns from which a terminal is wide enough."""

FRAME = 2
"""Lines of a panel that are not its content."""

COLORS = {
    "pending": "bright_black",
    "uploading": "blue",
    "waiting": "yellow",
    "running": "cyan",
    "processing": "cyan",
    "completed": "green",
    "ready": "green",
    "failed": "red",
    "cancelled": "magenta",
    "deleting": "magenta",
    "deleted": "bright_black",
}
"""The phases of both kinds: those that mean the same look the same."""


class Room(Struct, frozen=True):
    """How many rows of everything a terminal has room for."""

    tasks: int
    changes: int
    rejections: int


def room(size: ConsoleDimensions) -> Room:
    """Share out a terminal: rejections get a third of what the counts beside the tasks leave."""
    height = size.height - HEADER
    rejections = max(3, (height - COUNTS[1]) // 3 - FRAME)
    tasks = max(1, height - rejections - 2 * FRAME)
    return Room(tasks, tasks if size.width >= WIDE else 0, rejections)


async def show_live(console: Console, where: Places, reader: Reader, began: float) -> None:
    """Draw what the keys say, again and again, until cancelled."""
    with _log_held_back(), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            screen = await _screen(room(console.size), where, reader, began)
            live.update(screen, refresh=True)
            await asyncio.sleep(REFRESH)


@contextmanager
def _log_held_back() -> Iterator[None]:
    """Keep log lines, which would tear the view, until it is gone."""
    root = logging.getLogger()
    handlers = root.handlers
    held = [MemoryHandler(1000, logging.CRITICAL + 1, handler) for handler in handlers]
    root.handlers = [*held]
    try:
        yield
    finally:
        root.handlers = handlers
        for handler in held:
            handler.close()


async def _screen(rows: Room, where: Places, reader: Reader, began: float) -> Layout:
    snapshot = await reader.snapshot()
    running = await reader.running(rows.tasks)
    columns = [
        Layout(_counts(snapshot), size=COUNTS[0]),
        Layout(_tasks(running, snapshot)),
    ]
    if rows.changes:
        columns.append(Layout(_changes(reader.changes(rows.changes)), size=CHANGES))
    middle = Layout()
    middle.split_row(*columns)
    screen = Layout()
    screen.split_column(
        Layout(_header(where, time.monotonic() - began, snapshot.rate), size=HEADER),
        middle,
        Layout(_rejections(snapshot, rows.rejections), size=rows.rejections + FRAME),
    )
    return screen


def _header(where: Places, seconds: float, rate: float) -> Table:
    header = Table.grid(expand=True, padding=(0, 1))
    header.add_column(no_wrap=True)
    header.add_column(no_wrap=True, justify="right")
    header.add_row(
        Text(f"demo    STATUS_REDIS_URL={where.redis}", "bold"),
        Text(f"{rate:,.0f} events/s    {seconds:.0f} s", "bold"),
    )
    look = where.pages or f"redis-cli -u {where.redis}"
    header.add_row(Text(look, "cyan"), Text("Ctrl-C ends it", "bright_black"))
    return header


def _counts(snapshot: Snapshot) -> Panel:
    rows = Table.grid(expand=True)
    rows.add_column()
    rows.add_column(justify="right")
    for kind, counts in snapshot.counts.items():
        rows.add_row(Text(f"{kind}s", "bold"))
        for phase, count in counts.items():
            style = COLORS[phase] if count else "bright_black"
            rows.add_row(Text(f"  {phase}", style), Text(f"{count:,}", style))
    return _panel(rows, "phases")


def _tasks(running: Sequence[tuple[str, Status]], snapshot: Snapshot) -> Panel:
    rows = Table.grid(expand=True, padding=(0, 1, 0, 0))
    rows.add_column(no_wrap=True, max_width=24)
    rows.add_column(ratio=1)
    rows.add_column(justify="right", width=4)
    rows.add_column(no_wrap=True, width=8)
    for entity_id, status in running:
        progress = status.progress or 0
        style = COLORS[status.phase]
        note = Text(f"retry {status.retries}" if status.retries else "", "yellow")
        if entity_id in snapshot.stalled:
            note = Text("stalled", "bold red")
        rows.add_row(
            Text(entity_id),
            ProgressBar(1, progress, complete_style=style, finished_style=style),
            Text(f"{progress:.0%}", style),
            note,
        )
    count, stalled = snapshot.counts["task"]["running"], len(snapshot.stalled)
    return _panel(rows, f"running tasks ({count:,}, {stalled} stalled)")


def _changes(changes: Sequence[Change]) -> Panel:
    rows = Table.grid(expand=True, padding=(0, 1, 0, 0))
    rows.add_column(no_wrap=True, max_width=24)
    rows.add_column(no_wrap=True, ratio=1)
    for change in changes:
        before = f"{change.from_phase} -> " if change.from_phase else "-> "
        way = Text.assemble((before, "bright_black"), (change.phase, COLORS[change.phase]))
        rows.add_row(Text(change.id), way)
    return _panel(rows, "phase changes")


def _rejections(snapshot: Snapshot, limit: int) -> Panel:
    rows = Table.grid(expand=True, padding=(0, 1, 0, 0))
    rows.add_column(no_wrap=True, style="red")
    rows.add_column(no_wrap=True, max_width=24)
    rows.add_column(no_wrap=True, ratio=1)
    for rejection in snapshot.rejections[:limit]:
        rows.add_row(Text(rejection.reason), Text(rejection.about), Text(rejection.detail))
    return _panel(rows, f"last rejections (of {snapshot.reasons.total():,})")


def _panel(content: RenderableType, title: str) -> Panel:
    return Panel(
        content,
        title=Text(title, "bold"),
        title_align="left",
        border_style="bright_black",
        padding=(0, 1),
    )
