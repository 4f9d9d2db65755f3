"""`status-tracker rejected show`."""

import sys

import click

from status_tracker.cli.arguments import plain_text
from status_tracker.cli.connect import connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.rejected.kept import Rejections, Wanted
from status_tracker.cli.rejected.list import document
from status_tracker.cli.show import moment, print_json
from status_tracker.settings import Settings
from status_tracker.text import escaped


@click.command("show", epilog=EPILOG)
@click.argument("entries", metavar="ENTRY...", type=plain_text, nargs=-1, required=True)
@json_option
@connection_options
def command(settings: Settings, entries: tuple[str, ...], as_json: bool) -> None:
    """Show entries with all that is kept of them.

    list --each tells what they are called.

    Example: status-tracker rejected show 1700000000000-0
    """
    with Rejections(settings) as rejections:
        found = list(rejections.find(Wanted(entries=entries)))
    for kept in found:
        fields = document(kept)
        if as_json:
            print_json(fields)
            continue
        fields["rejectedAt"] = moment(kept.at)
        for name, value in fields.items():
            click.echo(f"{name}: {escaped(str(value))}")
        click.echo()
    for name in entries:
        if name not in [kept.name for kept in found]:
            click.echo(f"status-tracker: {escaped(name)}: there is no such entry", err=True)
    sys.exit(int(len(found) < len(set(entries))))
