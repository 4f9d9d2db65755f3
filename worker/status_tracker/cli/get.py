"""`status-tracker get`: the status of entities."""

import sys

import click

from status_tracker.cli.arguments import an_id, kind_argument
from status_tracker.cli.connect import connection_options, reading
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.show import print_json, print_rows, status_cells, status_document
from status_tracker.settings import Settings


@click.command("get", epilog=EPILOG)
@kind_argument
@click.argument("ids", metavar="ID...", type=an_id, nargs=-1, required=True)
@json_option
@connection_options
def command(settings: Settings, kind: str, ids: tuple[str, ...], as_json: bool) -> None:
    """Show the status of entities.

    The exit code is 1 when one of them has none.

    Example: status-tracker get task export-17 export-18
    """
    with reading(settings) as reader:
        found = reader.get_many(kind, ids)
    there = {each: status for each, status in found.items() if status is not None}
    if as_json:
        for each, status in there.items():
            print_json(status_document(kind, each, status))
    else:
        print_rows([status_cells(each, status) for each, status in there.items()])
    for each in found:
        if each not in there:
            click.echo(f"status-tracker: {kind} {each} has no status", err=True)
    sys.exit(int(len(there) < len(found)))
