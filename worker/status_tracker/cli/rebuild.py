"""`status-tracker rebuild`: what is published, beside what the streams say."""

import asyncio
import sys
from collections import Counter
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import click

from status_tracker.cli.connect import connected, connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.import_ import opened
from status_tracker.cli.options import json_option, yes_option
from status_tracker.cli.progress import Bar, progress
from status_tracker.cli.show import print_json
from status_tracker.maintenance.differences import Difference, differences
from status_tracker.maintenance.export import count_entities
from status_tracker.maintenance.rebuild import Checked, Rebuild, Spools
from status_tracker.maintenance.restoring import Outcome, restore_entities
from status_tracker.maintenance.snapshot import Snapshot
from status_tracker.maintenance.spool import Spool
from status_tracker.metadata import Deployment, read_deployment
from status_tracker.settings import Settings
from status_tracker.text import escaped, shortened

EXAMPLES = 3
"""Differences of a kind that are shown of each partition."""


@click.command("rebuild", epilog=EPILOG)
@click.option("--check", "mode", flag_value="check", help="Compare, and change nothing.")
@click.option("--apply", "mode", flag_value="apply", help="Then write what is to be.")
@click.option(
    "--from",
    "file",
    type=click.Path(path_type=Path),
    metavar="SNAPSHOT",
    help="Begin with what was exported; else the streams must go back to their beginning.",
)
@yes_option
@json_option
@connection_options
def command(
    *, settings: Settings, mode: str | None, file: Path | None, yes: bool, as_json: bool
) -> None:
    """Compare what is published with what the streams say, while workers run.

    The entries after a snapshot's cursors are folded onto its entities, by the rules of each
    revision; statuses, scores and histories are compared. The exit code is 1 where one differs, or
    where a partition's entries are not there any more. --apply writes what differs as it is to be,
    and leaves what changes meanwhile to the next run.

    Example: status-tracker rebuild --check --from last-night.ndjson.gz
    """
    if mode is None:
        raise click.UsageError("give --check or --apply")
    if mode == "apply" and as_json and not yes:
        raise click.UsageError("--json: nobody can be asked; give --yes, too")
    with ExitStack() as stack:
        spools = Spools(*(stack.enter_context(Spool()) for _ in range(2)))
        with progress() as bar:
            snapshot = None
            if file is not None:
                bar.begin("checking the snapshot", None)
                snapshot = Snapshot(str(file), stack.enter_context(opened(file)))
                snapshot.check()
            deployment, checked = asyncio.run(_checked(settings, snapshot, spools, bar))
        wrong = [each for each in checked if not _print(each, spools, as_json=as_json)]
        numbers = [each.number for each in wrong if not each.problem]
        if mode == "check" or not numbers:
            sys.exit(int(bool(wrong)))
        if not yes and not click.confirm("Write what was expected?"):
            click.echo("nothing was changed")
            sys.exit(1)
        outcomes = asyncio.run(_applied(settings, deployment, spools, numbers))
    restored, left = (sum(each) for each in zip(*outcomes, strict=True))
    if as_json:
        print_json({"restored": restored, "left": left})
    else:
        click.echo(f"restored: {restored:,}; changed meanwhile, and left as they are: {left:,}")
    sys.exit(int(left > 0 or len(numbers) < len(wrong)))


async def _applied(
    settings: Settings, deployment: Deployment, spools: Spools, numbers: list[int]
) -> list[Outcome]:
    async with connected(settings) as client:
        return [
            await restore_entities(client, deployment, number, spools.pairs(number))
            for number in numbers
        ]


async def _checked(
    settings: Settings, snapshot: Snapshot | None, spools: Spools, bar: Bar
) -> tuple[Deployment, list[Checked]]:
    async with connected(settings) as client:
        deployment = await read_deployment(client, settings.prefix)
        bar.begin("reading", await count_entities(client, deployment))
        return deployment, await Rebuild(client, deployment, spools).check(snapshot, bar.advance)


def _print(checked: Checked, spools: Spools, *, as_json: bool) -> bool:
    """Print what was found of a partition; tell whether all is right."""
    counts: Counter[str] = Counter()
    examples: list[Difference] = []
    found = () if checked.problem else spools.pairs(checked.number)
    for each in chain.from_iterable(map(differences, found)):
        counts[each.what] += 1
        if counts[each.what] <= EXAMPLES:
            examples.append(each)
    if as_json:
        print_json(
            {
                "partition": checked.number,
                "entities": checked.entities,
                "entries": checked.entries,
                "problem": checked.problem,
                "differences": counts,
                "examples": [each._asdict() for each in examples],
            }
        )
    elif checked.problem:
        click.echo(f"partition {checked.number}: cannot be rebuilt: {escaped(checked.problem)}")
    else:
        told = ", ".join(f"{number:,} {what}" for what, number in counts.items()) or "none"
        click.echo(
            f"partition {checked.number}: {checked.entities:,} entities, {checked.entries:,} "
            f"entries; differences: {told}"
        )
        for each in examples:
            click.echo(f"  {each.what}: {each.kind} {escaped(each.id)}")
            click.echo(f"    expected: {escaped(shortened(each.expected, 200))}")
            click.echo(f"    found:    {escaped(shortened(each.found, 200))}")
    return not checked.problem and not counts
