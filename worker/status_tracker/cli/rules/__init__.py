"""`status-tracker rules`: the rules of a deployment, shown, compared and changed."""

import click

from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.lazy import LazyGroup

COMMANDS = {
    "show": "Show the rules in force, and their revision; or those of a file.",
    "diff": "Show what a file would change.",
    "apply": "Put the rules of a file in force.",
}


@click.group("rules", cls=LazyGroup, package=__name__, summaries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Show, compare and change the rules that a deployment goes by."""
