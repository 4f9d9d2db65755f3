"""`status-tracker demo`: a small video service to watch."""

import click

from status_tracker.cli.exit_codes import EPILOG
from status_tracker.demo import run_demo


@click.command("demo", epilog=EPILOG)
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so many seconds."
)
def command(seconds: float | None) -> None:
    """Watch a small video service: a server, a worker and producers, all started here."""
    run_demo(seconds)
