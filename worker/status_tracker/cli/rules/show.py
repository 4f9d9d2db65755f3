"""`status-tracker rules show`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Console

from status_tracker.cli.connect import connection_options, deployment_of
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.lifecycles import show_diagrams, show_tables
from status_tracker.cli.options import json_option, mermaid_option
from status_tracker.cli.rules.changes import file_argument
from status_tracker.rules import Rules, in_words, load_rules, rules_json
from status_tracker.settings import Settings
from status_tracker.text import escaped


@click.command("show", epilog=EPILOG)
@file_argument
@json_option
@mermaid_option
@connection_options
def command(settings: Settings, file: Path | None, as_json: bool, mermaid: bool) -> None:
    """Show the rules in force, and their revision; or those of a file."""
    if as_json and mermaid:
        raise click.UsageError("--json and --mermaid: give one of them")
    revision = None
    if file is not None:
        rules = load_rules(file)
    else:
        deployment = asyncio.run(deployment_of(settings))
        rules, revision = deployment.rules, deployment.revision
    if as_json:
        raw = msgspec.Raw(rules_json(rules).encode())
        click.echo(msgspec.json.encode({"revision": revision, "rules": raw}))
    elif mermaid:
        show_diagrams(rules)
    else:
        console = Console()
        show_tables(console, rules)
        for line in _limits(rules):
            console.print(line, markup=False, soft_wrap=True)
        what = f"revision {revision}, in force" if file is None else f"the rules of {file}"
        console.print(escaped(what), markup=False, soft_wrap=True)


def _limits(rules: Rules) -> Iterator[str]:
    yield from (
        f"{key} = {in_words(value)}"
        for key, value in msgspec.json.decode(rules_json(rules)).items()
        if key not in rules.kinds
    )
