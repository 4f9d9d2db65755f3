"""`status-tracker list`: entities in a phase, those stalled, or those with such ids."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import click

from status_tracker.cli.arguments import kind_argument, plain_text
from status_tracker.cli.connect import connection_options, reading
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option, limit_option
from status_tracker.cli.show import (
    Cells,
    moment,
    print_json,
    print_rows,
    status_cells,
    status_document,
)
from status_tracker.client.reader import StatusReader
from status_tracker.models import Status
from status_tracker.settings import Settings

PAGE = 1_000
"""Entities that are read at once."""


class Row(NamedTuple):
    """An entity that is shown."""

    id: str
    status: Status
    stalled_since: int | None = None


Page = tuple[list[Row], str | None]
"""Some entities, and where the next page begins."""


@click.command("list", epilog=EPILOG)
@kind_argument
@click.argument("phase", type=plain_text, required=False)
@click.option(
    "--stalled", is_flag=True, help="Those without an update for longer than their limit."
)
@click.option(
    "--id", "pattern", metavar="PATTERN", type=plain_text, help="Whose id fits, as in Redis' KEYS."
)
@click.option("--oldest", is_flag=True, help="Those first that are there for the longest time.")
@limit_option("How many at most")
@json_option
@connection_options
def command(
    *,
    settings: Settings,
    kind: str,
    phase: str | None,
    stalled: bool,
    pattern: str | None,
    oldest: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Show the entities in a phase, those stalled, or those whose id fits a pattern.

    They come by when they entered the phase or were stalled, the newest first.

    Example: status-tracker list task failed --limit 20
    """
    if (phase is not None) + stalled + (pattern is not None) != 1:
        raise click.UsageError("give one of PHASE, --stalled and --id PATTERN")
    if oldest and pattern is not None:
        raise click.UsageError("--oldest: there is no order without a PHASE or --stalled")
    with reading(settings) as reader:

        def in_phase(size: int, after: str | None) -> Page:
            page = reader.list(kind, phase or "", newest=not oldest, limit=size, after=after)
            return [Row(*each) for each in page.statuses.items()], page.after

        def all_stalled(size: int, after: str | None) -> Page:
            page = reader.stalled(kind, newest=not oldest, limit=size, after=after)
            found = page.entities.items()
            return [Row(name, each.status, each.since) for name, each in found], page.after

        if pattern is not None:
            rows = _fitting(reader, kind, pattern, limit)
        else:
            rows = _each(all_stalled if stalled else in_phase, limit)
        if as_json:
            for row in rows:
                print_json(_document(kind, row))
        else:
            print_rows(list(map(_cells, rows)))


def _each(page_after: Callable[[int, str | None], Page], limit: int) -> Iterator[Row]:
    """Yield the rows of as many pages as there are, up to a limit."""
    after, left = None, limit or float("inf")
    while left > 0:
        rows, after = page_after(int(min(left, PAGE)), after)
        yield from rows
        left -= len(rows)
        if after is None:
            return


def _fitting(reader: StatusReader, kind: str, pattern: str, limit: int) -> Iterator[Row]:
    found = reader.find(kind, pattern)
    for each in sorted(found.statuses.items())[: limit or None]:
        yield Row(*each)
    if not found.complete:
        click.echo("status-tracker: there are more ids than were looked at", err=True)


def _cells(row: Row) -> Cells:
    """Return an entity as a row; since when it is stalled comes before its error, which is long."""
    cells = dict(status_cells(row.id, row.status))
    error = cells.pop("error")
    since = "" if row.stalled_since is None else moment(row.stalled_since)
    return {**cells, "stalled since": since, "error": error}


def _document(kind: str, row: Row) -> dict[str, Any]:
    document = status_document(kind, row.id, row.status)
    if row.stalled_since is not None:
        document["stalledSince"] = row.stalled_since
    return document
