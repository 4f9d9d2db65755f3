"""`status-tracker history`: the last changes of an entity."""

import sys

import click
import msgspec

from status_tracker.cli.arguments import id_argument, kind_argument
from status_tracker.cli.connect import connection_options, reading
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.show import Cells, print_json, print_rows, status_cells
from status_tracker.client.documents import status_of
from status_tracker.models import Change
from status_tracker.settings import Settings


@click.command("history", epilog=EPILOG)
@kind_argument
@id_argument
@json_option
@connection_options
def command(settings: Settings, kind: str, entity_id: str, as_json: bool) -> None:
    """Show the last changes of an entity, the newest first, as many as the rules keep.

    The exit code is 1 when there are none.

    Example: status-tracker history task export-17
    """
    with reading(settings) as reader:
        changes = reader.history(kind, entity_id)
        kept = reader.rules().history
    if as_json:
        for change in changes:
            print_json(msgspec.to_builtins(change))
    else:
        print_rows(list(map(_cells, changes)))
    if not changes:
        why = f"{kind} {entity_id} has none" if kept else "the rules keep none: set history in them"
        click.echo(f"status-tracker: no changes: {why}", err=True)
    sys.exit(int(not changes))


def _cells(change: Change) -> Cells:
    """Return a change as a row; when and from where come first."""
    cells = dict(status_cells(change.id, status_of(change)))
    del cells["id"]
    forced = "forced" if change.forced else ""
    return {"updated": cells.pop("updated"), "from": change.from_phase or "", **cells, "": forced}
