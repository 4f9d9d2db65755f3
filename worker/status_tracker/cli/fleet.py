"""`status-tracker fleet`: who reads what, and how far behind; once, or again and again."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import click
import msgspec
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from status_tracker.cancellation import unless_stopped
from status_tracker.cli.connect import connected, connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.errors import EXIT_UNAVAILABLE, ConfigError, UnavailableError
from status_tracker.metadata import read_deployment
from status_tracker.monitoring.fleet import PartitionState, WorkerState, read_fleet
from status_tracker.monitoring.health import MaxLag, Report, problems_of, report
from status_tracker.settings import Settings
from status_tracker.signals import StopSignals, stop_signals
from status_tracker.text import escaped

EVERY = 1.0
"""Seconds between two looks."""

Show = Callable[[Report], None]


@click.command("fleet", epilog=EPILOG)
@json_option
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option(
    "--max-lag",
    metavar="LIMIT",
    help='How far a partition may lag: a number of entries ("1000") or a duration ("30s").',
)
@connection_options
def command(settings: Settings, as_json: bool, watch: bool, max_lag: str | None) -> None:
    """Show who reads which partition, how far behind it is, and who lives.

    The exit code is 1 when a partition has no owner that lives, or lags too far, so that it serves
    as a health check.
    """
    sys.exit(show_fleet(settings, max_lag, as_json=as_json, watch=watch))


def show_fleet(settings: Settings, max_lag: str | None, *, as_json: bool, watch: bool) -> int:
    """Show the fleet; return the exit code: 0 when all is well, 1 when not.

    Raises `ConfigError` and, unless it watches, `UnavailableError`.
    """
    try:
        limit = None if max_lag is None else MaxLag.parse(max_lag)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--max-lag") from None
    console = Console(highlight=False)
    show: Show = _print_json if as_json else lambda found: _print_tables(console, found)
    if not watch:
        found = asyncio.run(_look(settings, limit))
        show(found)
        return int(not found.healthy)
    with stop_signals() as signals:
        # Not only `is_interactive`: that is also true of a pipe when FORCE_COLOR is set.
        if as_json or not (console.is_interactive and sys.stdout.isatty()):
            return asyncio.run(_watch(settings, limit, show, signals))
        with Live(console=console, auto_refresh=False) as live:
            return asyncio.run(_watch(settings, limit, lambda found: _draw(live, found), signals))


async def _look(settings: Settings, max_lag: MaxLag | None) -> Report:
    """Look once, on a connection of its own: the next look finds what moved in between."""
    async with connected(settings) as client:
        found = await read_fleet(client, await read_deployment(client, settings.prefix))
        return report(found, problems_of(found, max_lag, lease_ttl=settings.lease_ttl / 1000))


async def _watch(
    settings: Settings, max_lag: MaxLag | None, show: Show, signals: StopSignals
) -> int:
    """Look again and again until told to stop; return the exit code of the last look.

    Raises `ConfigError` where that is what the first look finds; a later one may be mended.
    """
    code: int | None = None

    async def look_on() -> None:
        nonlocal code
        while True:
            try:
                found = await _look(settings, max_lag)
                code = int(not found.healthy)
            except (ConfigError, UnavailableError) as error:
                if code is None and isinstance(error, ConfigError):
                    raise
                found = Report(False, [f"{error}; trying again"], [], [], [], None, None)
                code = error.exit_code
            show(found)
            await asyncio.sleep(EVERY)

    stop = asyncio.Event()
    signals.call(stop.set)
    await unless_stopped(look_on(), stop)
    return EXIT_UNAVAILABLE if code is None else code


def _print_json(found: Report) -> None:
    click.echo(msgspec.json.encode(found))


def _print_tables(console: Console, found: Report) -> None:
    for table in _tables(found):
        console.print(table)
    for line in _lines(found):
        console.print(line, soft_wrap=True)


def _draw(live: Live, found: Report) -> None:
    # What is wrong comes first: the end of what is longer than the screen is cut off.
    live.update(Group(*_lines(found), *_tables(found)), refresh=True)


def _lines(found: Report) -> Iterator[RenderableType]:
    for problem in found.problems:
        yield Text(escaped(problem), "red")
    for note in found.notes:
        yield Text(note, "yellow")


def _tables(found: Report) -> Iterator[RenderableType]:
    """Yield the tables; none when nothing could be seen."""
    if found.partitions:
        yield _partitions(found.partitions)
        yield ""
        yield _workers(found.workers)
        yield ""
        yield _totals(found.partitions)
        yield ""
    if found.revision:
        yield f"rules: revision {found.revision} is in force"
    if found.rejected:
        yield f"rejected entries: {found.rejected.kept:,} kept, {found.rejected.dropped:,} dropped"
        reasons = _reasons(found.partitions)
        if reasons:
            yield Text(f"rejected so far: {reasons}")
        yield ""


def _partitions(views: list[PartitionState]) -> Table:
    rows = Table(box=box.SIMPLE_HEAD, show_edge=False)
    rows.add_column("partition", justify="right")
    rows.add_column("owner", overflow="fold")
    rows.add_column("cursor", overflow="fold")
    for name in ("lag", "behind", "lease left", "rules"):
        rows.add_column(name, justify="right", no_wrap=True)
    for view in views:
        rows.add_row(
            str(view.number),
            Text(escaped(view.owner)) if view.owner is not None else Text("none", "red"),
            Text(escaped(view.cursor or "")),
            "?" if view.lag is None else f"{view.lag:,}",
            _seconds(view.lag_seconds),
            "" if view.lease_left is None else _seconds(view.lease_left),
            "" if view.revision is None else str(view.revision),
        )
    return rows


def _totals(views: list[PartitionState]) -> Table:
    rows = Table(box=box.SIMPLE_HEAD, show_edge=False)
    names = ("partition", "applied", "duplicates", "forwarded", "rejected", "lost", "epoch")
    for name in names:
        rows.add_column(name, justify="right", overflow="fold")
    for view in views:
        totals = view.totals
        rejected = sum(totals.rejected.values())
        became = (totals.applied, totals.duplicates, totals.forwarded, rejected)
        counts = (*became, totals.lost, totals.epoch)
        rows.add_row(str(view.number), *(f"{count:,}" for count in counts))
    return rows


def _reasons(views: list[PartitionState]) -> str:
    """Say how many entries were rejected for which reason, the most frequent one first."""
    sums: Counter[str] = Counter()
    for view in views:
        sums.update(view.totals.rejected)
    return ", ".join(f"{count:,} {escaped(reason)}" for reason, count in sums.most_common())


def _workers(views: list[WorkerState]) -> Table:
    rows = Table(box=box.SIMPLE_HEAD, show_edge=False)
    rows.add_column("worker", overflow="fold")
    rows.add_column("heartbeat", justify="right", no_wrap=True)
    rows.add_column("partitions", overflow="fold")
    for view in views:
        held = ", ".join(map(str, view.partitions))
        rows.add_row(Text(escaped(view.name)), f"{_seconds(view.heartbeat_age)} ago", held)
    if not views:
        rows.add_row(Text("none", "red"))
    return rows


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f} s"
