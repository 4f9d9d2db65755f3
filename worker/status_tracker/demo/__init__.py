"""`status-tracker demo`: a server, a worker and producers, all started here, and a view of them."""

import asyncio
import logging
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from rich.console import Console

from status_tracker.app import Worker
from status_tracker.client.emitter import AsyncEmitter
from status_tracker.client.reader import AsyncStatusReader
from status_tracker.demo.luck import Luck
from status_tracker.demo.pages import Places, listening, places, show_pages
from status_tracker.demo.producers import VideoService
from status_tracker.demo.snapshot import Reader
from status_tracker.demo.streams import Streams
from status_tracker.demo.view import show_live
from status_tracker.demo.words import show_lines, summary
from status_tracker.embedded import embedded_server
from status_tracker.errors import ConfigError, UnavailableError
from status_tracker.keys import Keys
from status_tracker.rules import Rules, load_rules
from status_tracker.settings import default_file, load_settings
from status_tracker.signals import StopSignals, stop_signals
from status_tracker.units import Milliseconds

DRAINS_WITHIN = 1.0
"""Seconds the worker has, when all is over, to read what the producers added."""

PAUSE = 0.02
"""Seconds between two looks at what is waited for."""

HISTORY = 20
"""Changes that are kept of each entity, for whoever looks at the keys."""

STALLED = Milliseconds(3_000)
"""How long a running task may say nothing."""

KEPT = Milliseconds(60_000)
"""How long what is done is kept: nobody watches for as long as by the shipped rules."""


def run_demo(seconds: float | None) -> None:
    """Run until Ctrl-C or SIGTERM, or for so many seconds, and print a summary."""
    # What the worker says at INFO, the view shows.
    logging.getLogger().setLevel(logging.WARNING)
    # So are the rejections, which are made on purpose.
    logging.getLogger("status_tracker.engine.partition_log").setLevel(logging.ERROR)
    # Before the server starts: it has a session of its own, and would outlive us.
    with stop_signals() as signals:
        summary_lines = asyncio.run(_on_own_server(seconds, signals))
    console = Console(highlight=False)
    for text in summary_lines:
        console.print(text, soft_wrap=not console.is_terminal)


async def _on_own_server(seconds: float | None, signals: StopSignals) -> list[str]:
    """Run on a server that is gone afterwards, with its data; return the summary."""
    stop = asyncio.Event()
    signals.call(stop.set)
    with (
        tempfile.TemporaryDirectory(prefix="status-tracker-") as folder,
        embedded_server(Path(folder)) as url,
        listening() as own_socket,
    ):
        try:
            return list(await _run(url, seconds, stop, own_socket))
        except BaseExceptionGroup as group:
            error = _first(group)
        if isinstance(error, RedisConnectionError | UnavailableError):
            raise ConfigError(f"the demo's server is gone: {error}")
        raise error


def _rules() -> Rules:
    """Return the shipped rules, with histories, and with limits of seconds."""
    rules = load_rules(default_file("rules.toml"))
    kinds = {
        kind: msgspec.structs.replace(each, retention=dict.fromkeys(each.retention, KEPT))
        for kind, each in rules.kinds.items()
    }
    kinds["task"] = msgspec.structs.replace(kinds["task"], stalled={"running": STALLED})
    return msgspec.structs.replace(rules, history=HISTORY, kinds=kinds)


async def _run(
    url: str, seconds: float | None, stop: asyncio.Event, own_socket: socket.socket | None
) -> Iterator[str]:
    """Run everything until told to stop; what fails ends the others."""
    settings = load_settings(environment={}, options={"redis_url": url})
    worker = Worker(settings, rules=_rules())
    keys = Keys(settings.prefix, "single")
    own = [keys.partition(number).partition for number in range(settings.partitions)]
    began = time.monotonic()
    async with (
        _connect(url) as client,
        # Where the server is gone, all is over.
        AsyncEmitter(url, retry_for=0) as emitter,
        AsyncStatusReader(url, retry_for=0) as statuses,
        asyncio.TaskGroup() as group,
    ):
        streams = Streams(emitter, client, keys, settings.partitions)
        reader = Reader(statuses, client, own)
        working = group.create_task(worker.run(), name="worker")
        await _created(statuses)
        following = group.create_task(reader.follow(), name="change feed")
        producing = group.create_task(VideoService(streams, Luck()).run(), name="producers")
        ended = asyncio.Event()
        group.create_task(show_pages(own_socket, settings, ended), name="dashboard")
        showing = group.create_task(_show(places(url, own_socket), reader, began), name="view")
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await stop.wait()
            seconds = time.monotonic() - began
            producing.cancel()
            await _drained(worker, streams)
        finally:
            worker.stop()
        await working
        showing.cancel()
        following.cancel()
        ended.set()
        snapshot = await reader.snapshot()
    return summary(seconds, worker.tally, snapshot)


async def _created(reader: AsyncStatusReader) -> None:
    """Wait until the worker has created the deployment."""
    while True:
        with suppress(ConfigError):
            await reader.rules()
            return
        await asyncio.sleep(PAUSE)


def _connect(url: str) -> Redis:
    # Not our own `connect`: with a timeout, redis-py sends in `asyncio.wait_for`, which
    # on Python 3.11 swallows a cancellation that comes as it returns, and a producer would go on.
    return Redis.from_url(url, protocol=2, socket_timeout=None, retry=Retry(NoBackoff(), 0))


async def _show(where: Places, reader: Reader, began: float) -> None:
    """Show what happens in the way that standard output allows."""
    console = Console()
    # Not only `is_interactive`: that is also true of a pipe when FORCE_COLOR is set.
    if console.is_interactive and sys.stdout.isatty():
        await show_live(console, where, reader, began)
    else:
        await show_lines(where, reader, began)


async def _drained(worker: Worker, streams: Streams) -> None:
    """Wait until the worker has read what was added, or its time is up."""
    for _ in range(int(DRAINS_WITHIN / PAUSE)):
        if worker.tally.read >= streams.added:
            return
        await asyncio.sleep(PAUSE)


def _first(error: BaseException) -> BaseException:
    """Return the error that began it all, out of the groups that it came in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
