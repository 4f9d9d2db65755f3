"""`status-tracker rules`: the rules of a deployment, shown, compared and changed."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from status_tracker.cli.connect import connected
from status_tracker.cli.lifecycles import show_diagrams, show_tables
from status_tracker.connection.client import Client, checked
from status_tracker.errors import ConfigError
from status_tracker.metadata import Deployment, read_deployment, revise
from status_tracker.rules import (
    Difference,
    Rules,
    differences,
    in_words,
    load_rules,
    rules_json,
)
from status_tracker.settings import Settings, default_file, load_settings
from status_tracker.text import escaped

Options = Mapping[str, str | None]


def show_rules(
    config: Path | None, options: Options, file: Path | None, *, as_json: bool, mermaid: bool
) -> None:
    """Show the rules that are in force, or those of a file.

    Raises `ConfigError` and `UnavailableError`.
    """
    settings = load_settings(config, options=options)
    revision = None
    if file is not None:
        rules = load_rules(file)
    else:
        deployment = asyncio.run(_deployment(settings))
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


def diff_rules(config: Path | None, options: Options, file: Path | None, *, as_json: bool) -> int:
    """Show what a file would change; return the exit code: 0 where it is nothing, else 1.

    Raises `ConfigError` and `UnavailableError`.
    """
    settings = load_settings(config, options=options)
    file, rules = _read(file)
    deployment = asyncio.run(_deployment(settings))
    found = differences(deployment.rules, rules)
    if as_json:
        _print_json(deployment.revision, found)
    elif found:
        Console().print(_table(deployment.revision, file, found))
    else:
        click.echo(f"nothing differs: revision {deployment.revision} has these rules")
    return int(bool(found))


def apply_rules(
    config: Path | None, options: Options, file: Path | None, *, as_json: bool, yes: bool
) -> int:
    """Make the rules of a file the next revision; return the exit code: 1 where the user said no.

    Raises `ConfigError` where what they drop still has entities, or where somebody else was
    faster; and `UnavailableError`.
    """
    settings = load_settings(config, options=options)
    if as_json and not yes:
        raise click.UsageError("--json: nobody can be asked; give --yes, too")
    file, rules = _read(file)
    deployment = asyncio.run(_checked(settings, file, rules))
    found = differences(deployment.rules, rules)
    if not found:
        said = f"nothing to change: revision {deployment.revision} has these rules"
    else:
        if not as_json:
            Console().print(_table(deployment.revision, file, found))
        if not yes and not click.confirm("Put these rules in force?"):
            click.echo("nothing was changed")
            return 1
        deployment = asyncio.run(_apply(settings, deployment, file, rules))
        said = f"revision {deployment.revision} is in force"
    if as_json:
        _print_json(deployment.revision, found)
    else:
        click.echo(said)
    return 0


def _read(file: Path | None) -> tuple[Path, Rules]:
    """Return the file that is meant, and its rules."""
    file = file or default_file("rules.toml")
    return file, load_rules(file)


async def _deployment(settings: Settings) -> Deployment:
    async with connected(settings) as client:
        return await read_deployment(client, settings.prefix)


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


def _limits(rules: Rules) -> Iterator[str]:
    yield from (
        f"{key} = {in_words(value)}"
        for key, value in msgspec.json.decode(rules_json(rules)).items()
        if key not in rules.kinds
    )


def _print_json(revision: int, found: list[Difference]) -> None:
    click.echo(msgspec.json.encode({"revision": revision, "differences": found}))


def _table(revision: int, file: Path, found: list[Difference]) -> Table:
    rows = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("key", f"revision {revision}", escaped(file.name)):
        rows.add_column(Text(name), overflow="fold")
    for each in found:
        before, after = (Text(escaped(in_words(value))) for value in (each.before, each.after))
        rows.add_row(Text(escaped(each.key)), before, after)
    return rows
