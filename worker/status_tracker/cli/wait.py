"""`status-tracker wait`: until an entity is settled; made for shell scripts."""

import sys

import click

from status_tracker.cli.arguments import (
    id_argument,
    kind_argument,
    lifecycle_of,
    milliseconds,
    plain_text,
)
from status_tracker.cli.connect import connection_options, reading
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.show import print_json, status_document
from status_tracker.errors import EXIT_TIMEOUT
from status_tracker.settings import Settings


@click.command("wait", epilog=EPILOG)
@kind_argument
@id_argument
@click.option(
    "--until",
    metavar="PHASE",
    type=plain_text,
    multiple=True,
    help="End well in this phase; may be given more than once. Else: in a success phase.",
)
@click.option("--timeout", type=milliseconds, metavar="DURATION", help='How long at most ("90s").')
@json_option
@connection_options
def command(
    *,
    settings: Settings,
    kind: str,
    entity_id: str,
    until: tuple[str, ...],
    timeout: int | None,
    as_json: bool,
) -> None:
    """Wait until an entity is settled, and say by the exit code how.

    It prints the phase in which the entity is then. The exit code is 0 in a success phase, 1
    in another one in which entities settle, and 124 when the time is up.

    Example: status-tracker wait task export-17 --timeout 90s
    """
    seconds = None if timeout is None else timeout / 1000
    with reading(settings) as reader:
        lifecycle = lifecycle_of(kind, reader.rules())
        try:
            ends = lifecycle.settled.union(until)
            status = reader.wait(kind, entity_id, until=ends, timeout=seconds)
        except TimeoutError as error:
            click.echo(f"status-tracker: {error}", err=True)
            sys.exit(EXIT_TIMEOUT)
    if as_json:
        print_json(status_document(kind, entity_id, status))
    else:
        click.echo(status.phase)
    sys.exit(int(status.phase not in (until or lifecycle.success)))
