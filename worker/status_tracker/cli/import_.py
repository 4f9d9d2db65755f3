"""`status-tracker import`: a new deployment from what was exported."""

import asyncio
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import click

from status_tracker.cli.connect import connected, connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.progress import Bar, progress
from status_tracker.errors import InputError
from status_tracker.keys import Layout
from status_tracker.maintenance.import_snapshot import import_snapshot
from status_tracker.maintenance.snapshot import Snapshot
from status_tracker.metadata import Deployment
from status_tracker.settings import Settings

GZIPPED = b"\x1f\x8b"


@click.command("import", epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--partitions",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="How many the new deployment has; else as many as the old one.",
)
@click.option(
    "--layout",
    type=click.Choice(["single", "cluster"]),
    help="Of the new deployment; else that of the old one. On a Redis Cluster it is cluster.",
)
@connection_options
def command(
    settings: Settings, file: Path, *, partitions: int | None, layout: Layout | None
) -> None:
    """Fill a new deployment with what was exported.

    All statuses, scores and histories come out the same to the byte, and the rules with their
    revisions. The streams are new, and the totals begin at 0. One that was killed goes on when it
    is started again; until it is done, workers refuse the deployment.

    Example: status-tracker import backup.ndjson.gz --partitions 64
    """
    with opened(file) as found, progress() as bar:
        snapshot = Snapshot(str(file), found)
        bar.begin("checking", None)
        total = snapshot.check()
        bar.begin("importing", total)
        wanted = partitions or snapshot.header.partitions, layout or snapshot.header.layout
        deployment = asyncio.run(_imported(settings, snapshot, *wanted, bar))
    made = f"partitions = {deployment.partitions}, layout = {deployment.keys.layout}"
    click.echo(f"imported: {total:,} entities; the new deployment has {made}")


async def _imported(
    settings: Settings, snapshot: Snapshot, partitions: int, layout: Layout, bar: Bar
) -> Deployment:
    async with connected(settings) as client:
        return await import_snapshot(
            client,
            settings.prefix,
            snapshot,
            partitions=partitions,
            layout=layout,
            imported=bar.advance,
        )


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a snapshot, compressed or not; raises `InputError`."""
    try:
        with file.open("rb") as raw:
            zipped = raw.read(len(GZIPPED)) == GZIPPED
            raw.seek(0)
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if zipped else raw
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
