"""The command `status-tracker`: its commands, and errors as one line with an exit code.

Each command is in the file of its name, which is imported when the command is used.
"""

import logging
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.lazy import LazyGroup
from status_tracker.cli.output import guard_output
from status_tracker.errors import EXIT_BUG, CommandError
from status_tracker.logs import TextFormatter
from status_tracker.text import escaped, escaped_lines

COMMANDS = {
    "demo": "Watch a small video service: a server, a worker and producers.",
    "run": "Run a worker until Ctrl-C, SIGTERM or the end of its terminal.",
    "check": "Check the settings and the rules, and print the lifecycles.",
    "emit": "Send an update, or a file of updates.",
    "set": "Set the phase of an entity by hand, and say what was and what is.",
    "forget": "Take entities away, and say what each was.",
    "get": "Show the status of entities.",
    "list": "Show the entities in a phase, those stalled, or those whose id fits a pattern.",
    "counts": "Show how many entities are in each phase.",
    "history": "Show the last changes of an entity.",
    "watch": "Show what changes, of one entity or of all, until Ctrl-C.",
    "wait": "Wait until an entity is settled, and say by the exit code how.",
    "rejected": "Show, replay and purge the entries that were not applied.",
    "rules": "Show, compare and change the rules that a deployment goes by.",
    "export": "Write all that is published to a file, while workers run.",
    "import": "Fill a new deployment with what was exported.",
    "bridge": "Copy what still comes to the streams of an old deployment to those of the new one.",
    "rebuild": "Compare what is published with what the streams say, while workers run.",
    "schema": "Print schemas of updates, statuses and streams.",
    "verify": "Look whether all keys agree, and mend what can only be one thing.",
    "dashboard": "Serve the dashboard and the HTTP API until Ctrl-C.",
    "fleet": "Show who reads which partition, how far behind it is, and who lives.",
    "doctor": "Look for what is wrong, or may become so, and say what to do.",
}


@click.group(
    cls=LazyGroup,
    package=__name__,
    summaries=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="status-tracker")
def cli() -> None:
    """Turn streams of status updates into one current status per task, asset or other entity."""


def main() -> None:
    """Run the command; end with a line and an exit code where it fails."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Click makes a 1 of Ctrl-C, as if the fleet were not well.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    guard_output()
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    sys.exit(_exit_code(cli))


def _exit_code(command: Callable[..., Any]) -> int:
    try:
        command()
    except CommandError as error:
        if str(error):
            click.echo(f"status-tracker: {escaped(str(error))}", err=True)
        return error.exit_code
    except Exception:  # noqa: BLE001
        click.echo(escaped_lines(traceback.format_exc()), err=True)
        click.echo("status-tracker: this is a bug; please report it with the lines above", err=True)
        return EXIT_BUG
    return 0
