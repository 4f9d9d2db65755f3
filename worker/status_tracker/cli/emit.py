"""`status-tracker emit`: an update, or a file of updates."""

from pathlib import Path
from typing import Any

import click

from status_tracker.cli.arguments import a_time, an_id, plain_text, update_options
from status_tracker.cli.connect import TRIED_FOR, connection_options, refusals
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.sending import send_file
from status_tracker.cli.show import print_json
from status_tracker.client.emitter import Emitter
from status_tracker.settings import Settings


@click.command("emit", epilog=EPILOG)
@click.argument("kind", type=plain_text, required=False)
@click.argument("entity_id", metavar="[ID]", type=an_id, required=False)
@click.argument("phase", type=plain_text, required=False)
@update_options
@click.option(
    "--updated-at", type=a_time, metavar="MS", help="When it was so: ms since the epoch; else now."
)
@click.option(
    "--from-file",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Send the updates in a file, one JSON document a line; - for standard input.",
)
@click.option("--resume", is_flag=True, help="Go on with a file of which some was sent.")
@json_option
@connection_options
def command(
    *,
    settings: Settings,
    kind: str | None,
    entity_id: str | None,
    phase: str | None,
    file: Path | None,
    resume: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Send an update, or a file of updates; see set for one that waits for what becomes of it.

    A file is read to its end and checked before any of it is sent. What was sent is noted beside
    it, in FILE.sent, so that --resume sends nothing twice, however it was ended. An update without
    updatedAt is of now.

    Example: status-tracker emit task export-17 running --progress 0.4
    """
    if file is not None:
        if kind is not None or any(map(_is_given, given.values())):
            raise click.UsageError("--from-file: the file says all; give no update besides")
        sent = send_file(settings, file, resume=resume)
        if as_json:
            print_json({"sent": sent})
        else:
            click.echo(f"sent: {sent:,}")
        return
    if kind is None or entity_id is None or phase is None:
        raise click.UsageError("give KIND, ID and PHASE, or --from-file FILE")
    if resume:
        raise click.UsageError("--resume: goes on with a file; give --from-file, too")
    with Emitter(settings, retry_for=TRIED_FOR) as emitter, refusals():
        fields = {"error_message": given.pop("error"), **given}
        entry_id = emitter.emit(kind, entity_id, phase, **fields)
    if as_json:
        print_json({"entry": entry_id})
    else:
        click.echo(entry_id)


def _is_given(value: object) -> bool:
    return value is not None and value is not False
