"""Which deployment a command speaks of, and a client of its server for as long as it needs one."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from status_tracker.cli.options import DATA, config_option, prefix_option, redis_url_option
from status_tracker.client.reader import AsyncStatusReader, StatusReader
from status_tracker.connection.client import UNAVAILABLE, Client
from status_tracker.connection.url import reach, without_secrets
from status_tracker.embedded import running_server
from status_tracker.errors import UnavailableError
from status_tracker.metadata import Deployment, read_deployment
from status_tracker.settings import Settings, load_settings
from status_tracker.text import escaped

TRIED_FOR = 1.0
"""Seconds for which a server that is away is asked again: a person waits."""


def settings_of(config: Path | None, options: Mapping[str, object]) -> Settings:
    """Return the settings; where no server is given, that of this folder is meant, if there is one.

    Raises `ConfigError`.
    """
    url = running_server(DATA)
    defaults = {} if url is None else {"redis_url": url}
    settings = load_settings(config, options=options, defaults=defaults)
    if settings.redis_url == url:
        click.echo(f"the server is the embedded one of {DATA}/: {url}", err=True)
    return settings


def connection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which deployment is meant, as `settings`."""

    @config_option
    @redis_url_option
    @prefix_option
    @wraps(function)
    def command(
        config: Path | None, redis_url: str | None, prefix: str | None, **others: Any
    ) -> Any:
        settings = settings_of(config, {"redis_url": redis_url, "prefix": prefix})
        return function(settings=settings, **others)

    return command


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Client]:
    """Connect; raises `UnavailableError` where the server cannot be used, then or later."""
    try:
        client = await reach(settings.redis_url)
        try:
            yield client
        finally:
            await client.close()
    except UNAVAILABLE as error:
        raise UnavailableError(f"{without_secrets(settings.redis_url)}: {error}") from None


async def deployment_of(settings: Settings) -> Deployment:
    """Return the deployment; raises `ConfigError` and `UnavailableError`."""
    async with connected(settings) as client:
        return await read_deployment(client, settings.prefix)


@contextmanager
def reading(settings: Settings) -> Iterator[StatusReader]:
    """Read statuses; a kind or a phase that there is not is a wrong command line."""
    with StatusReader(settings, retry_for=TRIED_FOR) as reader, refusals():
        yield reader


@asynccontextmanager
async def async_reading(settings: Settings) -> AsyncIterator[AsyncStatusReader]:
    """Do the same in an event loop."""
    with refusals():
        async with AsyncStatusReader(settings, retry_for=TRIED_FOR) as reader:
            yield reader


@contextmanager
def refusals() -> Iterator[None]:
    """Take what the library refuses for a wrong command line."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(escaped(str(error))) from error
