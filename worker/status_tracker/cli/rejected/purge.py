"""`status-tracker rejected purge`."""

import sys
from itertools import islice

import click

from status_tracker.cli.arguments import plain_text
from status_tracker.cli.connect import connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.rejected.kept import Rejections, Wanted, wanted_options
from status_tracker.cli.show import print_json
from status_tracker.settings import Settings

AT_ONCE = 1_000


@click.command("purge", epilog=EPILOG)
@click.argument("entries", metavar="[ENTRY]...", type=plain_text, nargs=-1)
@wanted_options
@click.option("--yes", is_flag=True, help="Do it: without it, nothing is purged.")
@json_option
@connection_options
def command(settings: Settings, wanted: Wanted, yes: bool, as_json: bool) -> None:
    """Take entries away for good.

    Those are meant that are named, or that the options say. Without --yes it says how many
    there are, and the exit code is 1.

    Example: status-tracker rejected purge --reason stale --older-than 24h --yes
    """
    with Rejections(settings) as rejections:
        found = rejections.find(wanted)
        if yes:
            count = 0
            while some := list(islice(found, AT_ONCE)):
                count += rejections.purge(some)
        else:
            count = sum(1 for _ in found)
    if as_json:
        print_json({"purged": count if yes else 0, "found": count})
    elif yes:
        click.echo(f"purged: {count:,}")
    else:
        click.echo(f"found: {count:,}; nothing was purged: give --yes, too")
    sys.exit(int(not yes and count > 0))
