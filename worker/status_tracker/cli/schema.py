"""`status-tracker schema`: schemas of updates, statuses, changes and streams."""

import asyncio
from pathlib import Path

import click
import msgspec

from status_tracker.cli.connect import connection_options, deployment_of
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.keys import Keys, Layout
from status_tracker.metadata import Deployment
from status_tracker.rules import load_rules
from status_tracker.schema import asyncapi, change_schema, status_schema, update_schema
from status_tracker.settings import Settings

SCHEMAS = {"update": update_schema, "status": status_schema, "change": change_schema}


@click.command("schema", epilog=EPILOG)
@click.argument("what", metavar="WHAT", type=click.Choice([*SCHEMAS, "asyncapi"]))
@click.option(
    "--rules",
    type=click.Path(path_type=Path),
    help="Of a file of rules and the settings; without it: of the deployment.",
)
@connection_options
def command(settings: Settings, what: str, rules: Path | None) -> None:
    """Print schemas of updates, statuses and streams.

    WHAT is update, status or change, for a JSON Schema (2020-12), or asyncapi, for all streams and
    keys of the deployment (AsyncAPI 3).

    Example: status-tracker schema update
    """
    deployment = (
        asyncio.run(deployment_of(settings)) if rules is None else _planned(settings, rules)
    )
    if what in SCHEMAS:
        schema = SCHEMAS[what](deployment.rules)
    else:
        schema = asyncapi(
            deployment.rules,
            deployment.keys,
            partitions=deployment.partitions,
            revision=deployment.revision,
        )
    click.echo(msgspec.json.format(msgspec.json.encode(schema), indent=2))


def _planned(settings: Settings, rules: Path) -> Deployment:
    """Return the deployment that a worker with these settings and rules would create."""
    layout: Layout = "cluster" if settings.layout == "cluster" else "single"
    return Deployment(
        keys=Keys(settings.prefix, layout),
        partitions=settings.partitions,
        revision=1,
        rules=load_rules(rules),
        texts={},
    )
