"""`status-tracker list`: the entities in a phase, or those whose id fits a pattern."""

from collections.abc import Iterator

import click

from status_tracker.cli.arguments import kind_argument, plain_text
from status_tracker.cli.connect import connection_options, reading
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option, limit_option
from status_tracker.cli.show import print_json, print_rows, status_cells, status_document
from status_tracker.client.reader import StatusReader
from status_tracker.models import Status
from status_tracker.settings import Settings

PAGE = 1_000
"""Entities that are read at once."""


@click.command("list", epilog=EPILOG)
@kind_argument
@click.argument("phase", type=plain_text, required=False)
@click.option(
    "--id", "pattern", metavar="PATTERN", type=plain_text, help="Whose id fits, as in Redis' KEYS."
)
@click.option("--oldest", is_flag=True, help="Those first that entered the phase first.")
@limit_option("How many at most")
@json_option
@connection_options
def command(
    *,
    settings: Settings,
    kind: str,
    phase: str | None,
    pattern: str | None,
    oldest: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Show the entities in a phase, or those whose id fits a pattern.

    Those in a phase come by when they entered it, the newest first.

    Example: status-tracker list task failed --limit 20
    """
    if (phase is None) == (pattern is None):
        raise click.UsageError("give a PHASE, or --id PATTERN")
    if oldest and phase is None:
        raise click.UsageError("--oldest: there is no order without a PHASE")
    with reading(settings) as reader:
        if phase is not None:
            found = _in_phase(reader, kind, phase, newest=not oldest, limit=limit)
        else:
            found = _fitting(reader, kind, pattern or "", limit)
        if as_json:
            for entity_id, status in found:
                print_json(status_document(kind, entity_id, status))
        else:
            print_rows([status_cells(*each) for each in found])


def _in_phase(
    reader: StatusReader, kind: str, phase: str, *, newest: bool, limit: int
) -> Iterator[tuple[str, Status]]:
    after, left = None, limit or float("inf")
    while left > 0:
        size = int(min(left, PAGE))
        page = reader.list(kind, phase, newest=newest, limit=size, after=after)
        yield from page.statuses.items()
        left -= len(page.statuses)
        after = page.after
        if after is None:
            return


def _fitting(
    reader: StatusReader, kind: str, pattern: str, limit: int
) -> Iterator[tuple[str, Status]]:
    found = reader.find(kind, pattern)
    yield from sorted(found.statuses.items())[: limit or None]
    if not found.complete:
        click.echo("status-tracker: there are more ids than were looked at", err=True)
