"""`status-tracker rules diff`."""

import asyncio
import sys
from pathlib import Path

import click

from status_tracker.cli.connect import connection_options, deployment_of
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.rules.changes import file_argument, read, show_changes
from status_tracker.rules import differences
from status_tracker.settings import Settings


@click.command("diff", epilog=EPILOG)
@file_argument
@json_option
@connection_options
def command(settings: Settings, file: Path | None, as_json: bool) -> None:
    """Show what a file would change.

    Without one, the shipped rules are meant. The exit code is 1 where something differs.
    """
    file, rules = read(file)
    deployment = asyncio.run(deployment_of(settings))
    found = differences(deployment.rules, rules)
    if found or as_json:
        show_changes(deployment.revision, file, found, as_json=as_json)
    else:
        click.echo(f"nothing differs: revision {deployment.revision} has these rules")
    sys.exit(int(bool(found)))
