"""`status-tracker dashboard`: the deployment in a browser, and over HTTP."""

import asyncio
import ipaddress
import os
import re

import click

from status_tracker.cli.connect import connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.errors import ConfigError
from status_tracker.settings import Settings
from status_tracker.signals import stop_signals

NAMES_HERE = ("localhost", "127.0.0.1", "[::1]")

ORIGIN = re.compile(r"https?://[^/?#@*\s]+")
"""As browsers send it, without a path: any other text would never be the same as theirs."""

BASE_PATH = re.compile(r"(/[\w.~-]+)+", re.ASCII)


@click.command("dashboard", epilog=EPILOG)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8380,
    show_default=True,
    help="The port to listen at; 0 for a free one.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--auth",
    metavar="HOW",
    help="Who may ask: bearer:file:PATH, bearer:env:NAME, basic:file:PATH, basic:env:NAME (with "
    "USER:PASSWORD there), or proxy:HEADER:ADDRESS[,ADDRESS]. Needed for any address but a "
    "loopback one.",
)
@click.option("--allow-actions", is_flag=True, help="Also send, replay and remove; needs --auth.")
@click.option(
    "--cors-origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    help="Pages elsewhere that may ask.",
)
@click.option(
    "--base-path",
    metavar="PATH",
    default="",
    help="Serve below a path, for a proxy that passes it on: /status.",
)
@connection_options
def command(
    *,
    settings: Settings,
    port: int,
    host: str,
    auth: str | None,
    allow_actions: bool,
    origins: tuple[str, ...],
    base_path: str,
) -> None:
    """Serve the dashboard and the HTTP API until Ctrl-C.

    Statuses, changes as they come, what was rejected, the fleet.

    It listens at a loopback address and only reads, unless told otherwise.

    Example: status-tracker dashboard --port 8380
    """
    is_open = not _is_loopback(host)
    if auth is None and (is_open or allow_actions):
        option = f"--host {host}" if is_open else "--allow-actions"
        raise click.UsageError(f"{option}: give --auth, too: who may ask?")
    for origin in origins:
        if ORIGIN.fullmatch(origin) is None:
            raise click.UsageError(f"--cors-origin {origin}: write it as https://app.example.com")
    if base_path and BASE_PATH.fullmatch(base_path) is None:
        raise click.UsageError(f"--base-path {base_path}: write it as /status")
    try:
        from status_tracker.dashboard import create_app  # noqa: PLC0415 - it needs the extra
        from status_tracker.dashboard.application import below  # noqa: PLC0415
        from status_tracker.dashboard.auth import parse_auth  # noqa: PLC0415
        from status_tracker.dashboard.serving import address_of, listen, serve  # noqa: PLC0415
    except ImportError:
        raise ConfigError(
            "the dashboard is not installed: pip install 'status-tracker[dashboard]'"
        ) from None
    who = None if auth is None else parse_auth(auth, os.environ)
    with stop_signals() as signals, listen(host, port) as own:
        name, actual = address_of(own)

        async def run() -> None:
            stop = asyncio.Event()
            signals.call(stop.set)
            app = create_app(
                settings,
                auth=who,
                allow_actions=allow_actions,
                hosts=(*NAMES_HERE, name) if who is None else None,
                origins=origins,
            )
            click.echo(f"http://{name}:{actual}{base_path}/", err=True)
            await serve(below(base_path, app) if base_path else app, own, stop)

        asyncio.run(run())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
