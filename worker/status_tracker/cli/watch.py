"""`status-tracker watch`: what changes, as it happens."""

import asyncio
import sys
from contextlib import suppress

import click
import msgspec

from status_tracker.cancellation import cancelled, started, unless_stopped
from status_tracker.cli.arguments import an_id, lifecycle_of, plain_text
from status_tracker.cli.connect import async_reading, connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.show import moment, print_json, status_document
from status_tracker.client.reader import AsyncStatusReader
from status_tracker.client.watching import FeedEvent
from status_tracker.errors import UnavailableError
from status_tracker.models import Status
from status_tracker.settings import Settings
from status_tracker.signals import StopSignals, stop_signals
from status_tracker.text import escaped

LOOK_EVERY = 0.5
"""Seconds between two looks at the progress of an entity, of which the feed does not tell."""


@click.command("watch", epilog=EPILOG)
@click.argument("kind", type=plain_text, required=False)
@click.argument("entity_id", metavar="[ID]", type=an_id, required=False)
@click.option("--after", metavar="TOKEN", type=plain_text, help="Go on after an event: its token.")
@json_option
@connection_options
def command(
    settings: Settings,
    kind: str | None,
    entity_id: str | None,
    after: str | None,
    as_json: bool,
) -> None:
    """Show what changes, of one entity or of all, until Ctrl-C.

    Without an ID, all of a KIND are meant, and without that, of all kinds. Of one entity, the
    progress is shown, too. With --json, each event has the token with which
    --after goes on after it.

    Example: status-tracker watch task export-17
    """
    if entity_id is not None and after is not None:
        raise click.UsageError("--after: the status of one entity is looked at; leave it out")
    with stop_signals() as signals:
        asyncio.run(_watch(settings, Wanted(kind, entity_id), after, signals, as_json=as_json))


class Wanted(msgspec.Struct, frozen=True):
    """Of whom it is told."""

    kind: str | None
    id: str | None

    def has(self, event: FeedEvent) -> bool:
        """Tell whether an event is of them."""
        return self.kind in (None, event.kind) and self.id in (None, event.id)


async def _watch(
    settings: Settings, wanted: Wanted, after: str | None, signals: StopSignals, *, as_json: bool
) -> None:
    stop = asyncio.Event()
    signals.call(stop.set)
    async with async_reading(settings) as reader:
        if wanted.kind is not None:
            lifecycle_of(wanted.kind, await reader.rules())
        if wanted.kind is not None and wanted.id is not None:
            work = _watch_one(reader, wanted.kind, wanted.id, as_json=as_json)
        else:
            work = _watch_all(reader, wanted, after, as_json=as_json)
        await unless_stopped(work, stop)


async def _watch_all(
    reader: AsyncStatusReader, wanted: Wanted, after: str | None, *, as_json: bool
) -> None:
    async for event in reader.changes(after):
        if wanted.has(event):
            _print_event(event, as_json=as_json)


async def _watch_one(
    reader: AsyncStatusReader, kind: str, entity_id: str, *, as_json: bool
) -> None:
    """Tell of each phase as the feed does, and of the progress in between as the key has it."""
    last = await reader.get(kind, entity_id)

    def tell(status: Status | None) -> None:
        nonlocal last
        if status != last:
            last = status
            _print_status(kind, entity_id, status, as_json=as_json)

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            with suppress(UnavailableError):  # an outage is waited out, as the feed does
                status = await reader.get(kind, entity_id)
                # An older one was read before the feed told of what came after it.
                if last is None or status is None or status.updated_at >= last.updated_at:
                    tell(status)

    async def follow() -> None:
        async for event in reader.changes():
            if (event.kind, event.id) == (kind, entity_id):
                tell(event.status)

    _print_status(kind, entity_id, last, as_json=as_json)
    tasks = [started(look(), "look"), started(follow(), "follow")]
    try:
        await asyncio.gather(*tasks)
    finally:
        await cancelled(tasks)


def _print_event(event: FeedEvent, *, as_json: bool) -> None:
    change = event.change
    if as_json:
        document = {"kind": event.kind, "id": event.id, "removed": True}
        if change is not None:
            document = msgspec.to_builtins(change)
        print_json({**document, "token": event.token})
        return
    if change is None:
        said = "removed"
    else:
        said = f"{change.from_phase or 'new'} -> {change.phase}{_details(change)}"
    at = f"{moment(change.updated_at)} " if change else ""
    _print_line(f"{at}{event.kind} {event.id}: {said}")


def _print_status(kind: str, entity_id: str, status: Status | None, *, as_json: bool) -> None:
    if as_json:
        none = {"kind": kind, "id": entity_id, "phase": None}
        print_json(none if status is None else status_document(kind, entity_id, status))
    elif status is None:
        _print_line(f"{kind} {entity_id}: no status")
    else:
        at = moment(status.updated_at)
        _print_line(f"{at} {kind} {entity_id}: {status.phase}{_details(status)}")


def _details(status: Status) -> str:
    progress = "" if status.progress is None else f" {status.progress:.0%}"
    retries = f", retry {status.retries}" if status.retries else ""
    message = f": {status.error_message}" if status.error_message else ""
    return f"{progress}{retries}{message}"


def _print_line(line: str) -> None:
    click.echo(escaped(line))
    sys.stdout.flush()  # whoever reads a pipe is to see it now
