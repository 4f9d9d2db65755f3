"""`status-tracker verify`: whether all keys agree; and mending what does not."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from status_tracker.cancellation import unless_stopped
from status_tracker.cli.connect import connected, connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.show import Cells, print_json, print_rows
from status_tracker.errors import EXIT_STOPPED
from status_tracker.maintenance.verify import Report, Verification
from status_tracker.metadata import read_deployment
from status_tracker.settings import Settings
from status_tracker.signals import StopSignals, stop_signals

EXAMPLES_SHOWN = 3
"""Of each kind of difference; there are more in the JSON."""


@click.command("verify", epilog=EPILOG)
@click.option("--repair", is_flag=True, help="Mend what can only be one thing.")
@json_option
@connection_options
def command(settings: Settings, repair: bool, as_json: bool) -> None:
    """Look whether all keys agree, and mend what can only be one thing.

    Statuses, index, scores, counts, stalled marks and histories are compared, while workers run.
    It says what differs: of each kind of difference how many there are, and some of them. With
    --repair it mends what can be mended. The exit code is 1 where a difference is left.

    Example: status-tracker verify --repair
    """
    with stop_signals() as signals:
        report, is_whole = asyncio.run(_unless_stopped(settings, signals, repair=repair))
    if as_json:
        print_json({**msgspec.to_builtins(report), "left": report.left, "complete": is_whole})
    else:
        _print(report, repair=repair)
    if not is_whole:
        click.echo("status-tracker: stopped before everything was looked at", err=True)
        sys.exit(EXIT_STOPPED)
    sys.exit(int(report.left > 0))


async def _unless_stopped(
    settings: Settings, signals: StopSignals, *, repair: bool
) -> tuple[Report, bool]:
    """Return what was found, and whether everything was looked at."""
    stop = asyncio.Event()
    signals.call(stop.set)
    report = Report()
    whole = await unless_stopped(_verify(settings, report, repair=repair), stop)
    return report, whole is not None


async def _verify(settings: Settings, report: Report, *, repair: bool) -> Report:
    """Note in a report what is found, as it is found; return it."""
    async with connected(settings) as client:
        deployment = await read_deployment(client, settings.prefix)
        with _bar() as show:
            await Verification(client, deployment, report, repair=repair, progress=show).run()
    return report


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how much was looked at, of about how much."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("keys", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=max(done, total))


def _print(report: Report, *, repair: bool) -> None:
    print_rows(list(_rows(report, repair=repair)), right=["found", "mended"])
    looked = (
        f"{report.statuses:,} statuses, {report.entries:,} entries in the index, "
        f"{report.marks:,} stalled marks, {report.histories:,} histories"
    )
    found = sum(tally.found for tally in report.differences.values())
    if not found:
        said = "no differences"
    elif repair:
        said = f"differences: {found:,} found, {found - report.left:,} mended, {report.left:,} left"
    else:
        said = f"differences: {found:,} found"
    click.echo(f"looked at {looked}\n{said}")


def _rows(report: Report, *, repair: bool) -> Iterator[Cells]:
    for what, tally in report.differences.items():
        numbers = {
            "difference": what,
            "found": f"{tally.found:,}",
            "mended": f"{tally.mended:,}" if repair else "",
        }
        for each in tally.examples[:EXAMPLES_SHOWN]:
            yield {**numbers, "example": f"{each.kind} {each.id}: {each.detail}".strip()}
            numbers = dict.fromkeys(numbers, "")
