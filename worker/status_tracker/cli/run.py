"""`status-tracker run`: a worker on a server that is there, or on one of its own."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import (
    DATA,
    config_option,
    prefix_option,
    redis_url_option,
    rules_option,
)
from status_tracker.logs import write_log_as
from status_tracker.signals import StopSignals, stop_signals

if TYPE_CHECKING:
    from status_tracker.settings import Settings


@click.command("run", epilog=EPILOG)
@config_option
@redis_url_option
@click.option(
    "--embedded", is_flag=True, help=f"Start a server of its own, with its data in {DATA}/."
)
@click.option("--name", help="What this worker is called: each needs a name of its own.")
@prefix_option
@click.option("--partitions", type=int, metavar="N", help="How many streams there are.")
@click.option("--layout", metavar="NAME", help="single, cluster or auto.")
@rules_option
@click.option(
    "--metrics-port",
    type=int,
    metavar="PORT",
    help="Serve metrics and probes there (the extra: pip install 'status-tracker[metrics]').",
)
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option("--log-format", metavar="FORMAT", help="auto, text or json.")
def command(config: Path | None, embedded: bool, **options: Any) -> None:
    """Run a worker until Ctrl-C, SIGTERM or the end of its terminal.

    Every setting and its default is in config/worker.toml; an environment variable, such as
    STATUS_REDIS_URL, stands over the file, and an option over both.
    """
    if embedded and options["redis_url"]:
        raise click.UsageError(
            "--embedded starts a server, --redis-url names one: give one of them"
        )
    # Before the imports, which take the most of the time that a start takes.
    with stop_signals() as signals:
        write_log_as("auto")  # what is wrong with the settings is said before they are known
        if embedded:
            _run_embedded(config, options, signals)
        else:
            from status_tracker.cli.connect import settings_of  # noqa: PLC0415

            _run_worker(settings_of(config, options), signals)


def _run_worker(settings: "Settings", signals: StopSignals, *, sole: bool = False) -> None:
    """Run a worker with the settings that the user gave."""
    from status_tracker.app import run  # noqa: PLC0415
    from status_tracker.rules import load_rules  # noqa: PLC0415

    logging.getLogger().setLevel(settings.log_level.upper())
    write_log_as(settings.log_format)
    rules = load_rules(settings.rules) if settings.rules else None
    asyncio.run(run(settings, signals, rules=rules, sole=sole))


def _run_embedded(config: Path | None, options: Mapping[str, Any], signals: StopSignals) -> None:
    """Run a worker on an embedded server, which lives as long as it does."""
    from status_tracker.embedded import embedded_server  # noqa: PLC0415
    from status_tracker.rules import load_rules  # noqa: PLC0415
    from status_tracker.settings import load_settings  # noqa: PLC0415

    # Before the server starts, so that a slip in a file does not wait for it.
    settings = load_settings(config, options=options)
    if settings.rules:
        load_rules(settings.rules)
    # The folder's lock keeps this name from being two workers'. So the next one here is the owner
    # of what a killed one held, and need not wait until its leases run out.
    name = settings.name or "embedded"
    with embedded_server(DATA) as url:
        click.echo(f"embedded server: {url} (its data is in {DATA}/)")
        own = load_settings(config, options={**options, "name": name, "redis_url": url})
        _run_worker(own, signals, sole=True)
