"""`status-tracker rules apply`."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from status_tracker.cli.connect import connected, connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option, yes_option
from status_tracker.cli.rules.changes import file_argument, read, show_changes
from status_tracker.connection.client import Client, checked
from status_tracker.errors import ConfigError
from status_tracker.metadata import Deployment, read_deployment, revise
from status_tracker.rules import Rules, differences
from status_tracker.settings import Settings


@click.command("apply", epilog=EPILOG)
@file_argument
@yes_option
@json_option
@connection_options
def command(settings: Settings, file: Path | None, yes: bool, as_json: bool) -> None:
    """Put the rules of a file in force.

    They become the next revision; without a file, the shipped rules are meant. All workers go
    by them within a heartbeat, without a restart. A phase in which entities are cannot be
    dropped.
    """
    if as_json and not yes:
        raise click.UsageError("--json: nobody can be asked; give --yes, too")
    file, rules = read(file)
    deployment = asyncio.run(_checked(settings, file, rules))
    found = differences(deployment.rules, rules)
    if not found:
        said = f"nothing to change: revision {deployment.revision} has these rules"
    else:
        if not as_json:
            show_changes(deployment.revision, file, found)
        if not yes and not click.confirm("Put these rules in force?"):
            click.echo("nothing was changed")
            sys.exit(1)
        deployment = asyncio.run(_apply(settings, deployment, file, rules))
        said = f"revision {deployment.revision} is in force"
    if as_json:
        show_changes(deployment.revision, file, found, as_json=True)
    else:
        click.echo(said)


async def _checked(settings: Settings, file: Path, rules: Rules) -> Deployment:
    """Return the deployment, if it can do without what the rules drop."""
    async with connected(settings) as client:
        deployment = await read_deployment(client, settings.prefix)
        await _refuse_dropping(client, deployment, file, rules)
        return deployment


async def _apply(
    settings: Settings, deployment: Deployment, file: Path, rules: Rules
) -> Deployment:
    async with connected(settings) as client:
        # Once more: it may have taken the user long to say yes.
        await _refuse_dropping(client, deployment, file, rules)
        return await revise(client, deployment, rules)


async def _refuse_dropping(
    client: Client, deployment: Deployment, file: Path, rules: Rules
) -> None:
    """Refuse to drop a phase in which entities are."""
    numbers = range(deployment.partitions)
    for kind, phase in _dropped(deployment.rules, rules):
        # In the layout `single`, it is one set for all partitions.
        sets = {deployment.keys.partition(number).phase(kind, phase) for number in numbers}
        sizes = checked(await client.execute_all([("ZCARD", each) for each in sorted(sets)]))
        if sum(sizes):
            entities = "entity is" if sum(sizes) == 1 else "entities are"
            raise ConfigError(
                f"{file}: {kind}.phases: {phase} is left out, but {sum(sizes):,} {entities} in it: "
                "keep the phase, or bring them into another one first"
            )


def _dropped(before: Rules, after: Rules) -> Iterator[tuple[str, str]]:
    """Yield each kind and phase that some rules have and others do not."""
    for kind, lifecycle in before.kinds.items():
        kept = after.kinds[kind].phases if kind in after.kinds else ()
        for phase in lifecycle.phases:
            if phase not in kept:
                yield kind, phase
