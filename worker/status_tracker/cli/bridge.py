"""`status-tracker bridge`: from the streams of an old deployment to those of its successor."""

import asyncio
from contextlib import AsyncExitStack
from socket import gethostname

import click
from msgspec.structs import replace

from status_tracker.cli.arguments import milliseconds
from status_tracker.cli.connect import connected, connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.connection.url import without_secrets
from status_tracker.engine.backoff import Backoff
from status_tracker.maintenance.bridge import Bridge, Side
from status_tracker.metadata import read_deployment
from status_tracker.settings import Settings
from status_tracker.signals import StopSignals, stop_signals


@click.command("bridge", epilog=EPILOG)
@click.option("--from-url", metavar="URL", help="Where the old deployment is; else at --redis-url.")
@click.option("--from-prefix", metavar="PREFIX", help="What its keys begin with; else --prefix.")
@click.option(
    "--idle",
    type=milliseconds,
    metavar="DURATION",
    default="60s",
    show_default=True,
    help='End when nothing came for so long ("10s", "1h"): the producers have switched.',
)
@connection_options
def command(settings: Settings, from_url: str | None, from_prefix: str | None, idle: int) -> None:
    """Copy what still comes to the streams of an old deployment to those of the new one.

    The old one's workers have stopped, and the new one was imported from what was exported after
    that. Each entry is added once, in the order of its stream, however often this is killed and
    started again.

    Example: status-tracker bridge --from-url redis://old:6379/0 --redis-url redis://new:6379/0
    """
    old = replace(
        settings, redis_url=from_url or settings.redis_url, prefix=from_prefix or settings.prefix
    )
    if old == settings:
        raise click.UsageError("--from-url, --from-prefix: name the old deployment")
    with stop_signals() as signals:
        entries = asyncio.run(_bridged(old, settings, idle, signals))
    click.echo(f"copied: {entries:,} entries")


async def _bridged(old: Settings, new: Settings, idle: int, signals: StopSignals) -> int:
    async with AsyncExitStack() as stack:
        sides: list[Side] = []
        for each in (old, new):
            client = await stack.enter_async_context(connected(each))
            sides.append(Side(client, await read_deployment(client, each.prefix)))
        servers = " or ".join(dict.fromkeys(without_secrets(each.redis_url) for each in (old, new)))
        # One name for all of this host: who comes after a killed one need not wait for its leases.
        name = f"bridge-{gethostname()}"
        bridge = Bridge(sides[0], sides[1], Backoff(servers), name=name, idle=idle)
        signals.call(bridge.stop)
        await bridge.run()
        return bridge.entries
