"""`status-tracker rejected`: the entries that were not applied."""

import click

from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.lazy import LazyGroup

COMMANDS = {
    "list": "Show what was rejected: how many for which reason, or each.",
    "show": "Show entries with all that is kept of them.",
    "replay": "Send the original bytes again, and say what becomes of each.",
    "purge": "Take entries away for good.",
}


@click.group("rejected", cls=LazyGroup, package=__name__, summaries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Show, replay and purge the entries that were not applied."""
