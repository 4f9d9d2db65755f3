"""`status-tracker rebuild`: what is published, beside what the streams say."""

import asyncio
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import click

from status_tracker.cli.connect import connected, connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.import_ import opened
from status_tracker.cli.options import json_option
from status_tracker.cli.progress import Bar, progress
from status_tracker.cli.show import print_json
from status_tracker.maintenance.export import count_entities
from status_tracker.maintenance.rebuild import Checked, Difference, Rebuild
from status_tracker.maintenance.snapshot import Snapshot
from status_tracker.maintenance.spool import Spool
from status_tracker.metadata import read_deployment
from status_tracker.settings import Settings
from status_tracker.text import escaped, shortened

EXAMPLES = 3
"""Differences of a kind that are shown of each partition."""


@click.command("rebuild", epilog=EPILOG)
@click.option("--check", "checking", is_flag=True, required=True, help="Change nothing.")
@click.option(
    "--from",
    "file",
    type=click.Path(path_type=Path),
    metavar="SNAPSHOT",
    help="Begin with what was exported; else the streams must go back to their beginning.",
)
@json_option
@connection_options
def command(settings: Settings, file: Path | None, *, checking: bool, as_json: bool) -> None:
    """Compare what is published with what the streams say, while workers run.

    The entries after a snapshot's cursors are folded onto its entities, by the rules of each
    revision; statuses, scores and histories are compared. The exit code is 1 where one differs, or
    where a partition's entries are not there any more.

    Example: status-tracker rebuild --check --from last-night.ndjson.gz
    """
    del checking
    with ExitStack() as stack:
        expected, found = (stack.enter_context(Spool()) for _ in range(2))
        with progress() as bar:
            snapshot = None
            if file is not None:
                bar.begin("checking the snapshot", None)
                snapshot = Snapshot(str(file), stack.enter_context(opened(file)))
                snapshot.check()
            checked = asyncio.run(_checked(settings, snapshot, expected, found, bar))
        is_right = [_print(each, as_json=as_json) for each in checked]
    sys.exit(int(not all(is_right)))


async def _checked(
    settings: Settings, snapshot: Snapshot | None, expected: Spool, found: Spool, bar: Bar
) -> list[Checked]:
    async with connected(settings) as client:
        deployment = await read_deployment(client, settings.prefix)
        bar.begin("reading", await count_entities(client, deployment))
        rebuild = Rebuild(client, deployment, expected=expected, found=found)
        return await rebuild.check(snapshot, bar.advance)


def _print(checked: Checked, *, as_json: bool) -> bool:
    """Print what was found of a partition; tell whether all is right."""
    counts: Counter[str] = Counter()
    examples: list[Difference] = []
    for each in checked.differences:
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
