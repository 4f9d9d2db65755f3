"""`status-tracker run`: a worker on a server that is there, or on one of its own."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import click

from status_tracker.app import run
from status_tracker.embedded import embedded_server
from status_tracker.rules import load_rules
from status_tracker.settings import load_settings
from status_tracker.signals import StopSignals


def run_worker(
    config: Path | None,
    options: Mapping[str, object],
    signals: StopSignals,
    *,
    sole: bool = False,
) -> None:
    """Run a worker with the settings that the user gave."""
    settings = load_settings(config, options=options)
    logging.getLogger().setLevel(settings.log_level.upper())
    rules = load_rules(settings.rules) if settings.rules else None
    asyncio.run(run(settings, signals, rules=rules, sole=sole))


def run_embedded(
    config: Path | None, options: Mapping[str, object], data: Path, signals: StopSignals
) -> None:
    """Run a worker on an embedded server, which lives as long as it does."""
    # Before the server starts, so that a slip in a file does not wait for it.
    settings = load_settings(config, options=options)
    if settings.rules:
        load_rules(settings.rules)
    # The folder's lock keeps this name from being two workers'. So the next one here is the owner
    # of what a killed one held, and need not wait until its leases run out.
    name = settings.name or "embedded"
    with embedded_server(data) as url:
        click.echo(f"embedded server: {url} (its data is in {data}/)")
        run_worker(config, {**options, "name": name, "redis_url": url}, signals, sole=True)
