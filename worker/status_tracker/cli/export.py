"""`status-tracker export`: all that is published, as a file."""

import asyncio
import gzip
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

import click

from status_tracker.cli.connect import connected, connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.progress import Bar, progress
from status_tracker.errors import OutputError
from status_tracker.maintenance.export import (
    Copy,
    copy_entities,
    count_entities,
    snapshot_lines,
)
from status_tracker.maintenance.spool import Spool
from status_tracker.metadata import Deployment, read_deployment
from status_tracker.settings import Settings

STDOUT = Path("-")

LEVEL = 5
"""Of gzip's compression: a file of the size that level 9 makes, in half of the time."""


@click.command("export", epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path), default="-")
@click.option("--gzip", "zipped", is_flag=True, help="Compress it.")
@connection_options
def command(settings: Settings, file: Path, *, zipped: bool) -> None:
    """Write all that is published to a file, while workers run.

    Of each entity that is its status, its place in the index and its history. Each partition's part
    is as it was at one cursor, which stands in it. FILE is there when it is whole; - is standard
    output.

    Example: status-tracker export backup.ndjson.gz --gzip
    """
    with Spool() as spool, progress() as bar:
        deployment, copy = asyncio.run(_copied(settings, spool, bar))
        total = sum(map(spool.count, copy.fields))
        bar.begin("writing", total)
        with _written(file) as output, _zipped(output, zipped=zipped) as lines:
            for line in snapshot_lines(deployment, spool, copy):
                lines.write(line + b"\n")
                bar.advance(1)
    if copy.left_out:
        click.echo(
            f"left out: {copy.left_out:,} ids in the index that no entity can have there", err=True
        )
    if file != STDOUT:
        click.echo(f"exported: {total:,} entities of {deployment.partitions} partitions")


async def _copied(settings: Settings, spool: Spool, bar: Bar) -> tuple[Deployment, Copy]:
    async with connected(settings) as client:
        deployment = await read_deployment(client, settings.prefix)
        bar.begin("reading", await count_entities(client, deployment))
        return deployment, await copy_entities(client, deployment, spool, bar.advance)


@contextmanager
def _written(file: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name when it is whole; raises `OutputError`.

    What is there and no file, as a pipe or a device, is written as it is, and stays there.
    """
    if file == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    is_file = file.is_file() or not file.exists()
    part = file.with_name(f"{file.name}.part") if is_file else file
    try:
        with part.open("wb") as output:
            yield output
            output.flush()
            if is_file:
                os.fsync(output.fileno())
        if is_file:
            part.replace(file)
    except BaseException as error:
        if is_file:
            with suppress(OSError):
                part.unlink()
        if isinstance(error, OSError):
            raise OutputError(f"{file}: cannot be written: {error.strerror}") from None
        raise


@contextmanager
def _zipped(output: IO[bytes], *, zipped: bool) -> Iterator[IO[bytes]]:
    if not zipped:
        yield output
        return
    with gzip.GzipFile(fileobj=output, mode="wb", compresslevel=LEVEL, mtime=0) as lines:
        yield cast("IO[bytes]", lines)
