"""`status-tracker counts`: how many entities are in each phase."""

import click

from status_tracker.cli.arguments import plain_text
from status_tracker.cli.connect import connection_options, reading
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.show import print_json, print_rows
from status_tracker.settings import Settings


@click.command("counts", epilog=EPILOG)
@click.argument("kind", type=plain_text, required=False)
@json_option
@connection_options
def command(settings: Settings, kind: str | None, as_json: bool) -> None:
    """Show how many entities are in each phase, of a KIND or of all.

    Example: status-tracker counts task
    """
    with reading(settings) as reader:
        kinds = reader.rules().kinds if kind is None else (kind,)
        counts = {each: reader.counts(each) for each in kinds}
    if as_json:
        for each, phases in counts.items():
            print_json({"kind": each, "counts": phases})
        return
    rows = [
        {"kind": each, "phase": phase, "entities": f"{count:,}"}
        for each, phases in counts.items()
        for phase, count in phases.items()
    ]
    print_rows(rows, right=["entities"])
