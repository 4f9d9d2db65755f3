"""From a URL to a client, and what the log hears while the server cannot be used."""

import asyncio
import logging
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

import hiredis
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff

from worker.errors import ConfigError

log = logging.getLogger(__name__)

UNREACHABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.InvalidResponse,
    OSError,
)
"""The server did not answer, or says that it is still loading, or something else answered."""
UNAVAILABLE = (*UNREACHABLE, exceptions.ResponseError)
"""It cannot be used now: out of reach, full, read-only, busy, or a key has another type."""

ANSWER_WITHIN = 5.0
"""Seconds without an answer after which a connection counts as lost. Longer than any blocking read,
and than the longest script a server should be made to run."""

# Seconds between tries while the server cannot be used: the first soon, for most outages are a
# restart; the last few, so that a fleet does not fall upon a server that just came back.
_backoff = ExponentialWithJitterBackoff(base=0.1, cap=3.0)

_FORMS = "redis://[user:password@]host:port/db, rediss://… with TLS, or unix:///path/to/socket"

# The others of redis-py's options would change how replies read, or when to give up.
_OPTIONS = re.compile(r"db|username|password|ssl_\w+")


def connect(url: str) -> Redis:
    """Return a client for a server; the first command connects it.

    Raises `ConfigError` for a URL that cannot be used, without repeating what may be a password.
    """
    refused = ConfigError(
        f"redis_url: not a URL that can be used; write {_FORMS}, with no options but db and ssl_…, "
        "and the characters / ? # @ : % of a password as %2F %3F %23 %40 %3A %25"
    )
    try:
        parts = urlsplit(url)
        if not _can_be_used(parts):
            raise refused
        client = Redis.from_url(
            url,
            # The replies of RESP3 are maps, dearer to build than the flat lists of RESP2.
            protocol=2,
            socket_timeout=ANSWER_WITHIN,
            socket_connect_timeout=ANSWER_WITHIN,
            # A commit that redis-py sends again on its own would look like another worker's.
            retry=Retry(NoBackoff(), 0),
            # A blocking read holds its connection: every partition needs one of its own.
            max_connections=2**31,
        )
        _check_files(parts)
        # Finds values that redis-py does not know.
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, exceptions.RedisError):
        raise refused from None
    pool = client.connection_pool
    pool.connection_class = type("_Connection", (_PackedInC, pool.connection_class), {})
    # Entries as the server sends them: redis-py's dicts cost more than the decoding.
    client.set_response_callback("XREAD", _as_it_is)
    return client


class _PackedInC:
    """A connection whose commands hiredis writes, as redis-py's blocking connections have it.

    Its asyncio connections join a thousand keys in Python.
    """

    def pack_command(self, name: str, *args: Any) -> list[bytes]:
        # redis-py writes "SCRIPT LOAD" as one name; on the wire it is two words.
        return [hiredis.pack_command((*name.split(), *args))]


def _as_it_is(response: Any, **_: Any) -> Any:
    return response


def _can_be_used(parts: SplitResult) -> bool:
    """Tell whether a URL says what it seems to say; raises ValueError for a port that is none."""
    if parts.fragment or any(character.isspace() for character in parts.netloc):
        return False
    if not all(_OPTIONS.fullmatch(name) for name, _ in parse_qsl(parts.query, True)):
        return False
    if parts.scheme == "unix":
        return bool(parts.path) and not parts.netloc.rpartition("@")[2]
    return parts.port != 0 and re.fullmatch(r"(/\d*)?", parts.path) is not None


def _check_files(parts: SplitResult) -> None:
    """Refuse TLS files that are not there: redis-py would say so at each try, without a name."""
    for option, file in parse_qsl(parts.query):
        if option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") and not Path(file).is_file():
            raise ConfigError(f"redis_url: {option}: there is no file {file}")


def without_secrets(url: str) -> str:
    """Return what of a URL may stand in a log: scheme, host, port and path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Outage:
    """Says once when the server cannot be used, and once when it can again.

    Partitions meet the same trouble at the same time: the first one's words stand for all.
    """

    def __init__(self, server: str, stop: asyncio.Event) -> None:
        self._server = server
        self._stop = stop
        self._troubles: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    async def wait_out(self, who: str, error: BaseException) -> None:
        """Say what is wrong, unless it was said, and wait before the next try."""
        if self._stop.is_set():
            return
        trouble = "unreachable" if isinstance(error, UNREACHABLE) else str(error)
        if trouble not in self._troubles.values():
            self._since[trouble] = time.monotonic()
            log.warning("%s: %s; trying again until it works", self._server, error)
        self._troubles[who] = trouble
        current = self._troubles.values()
        self._since = {each: at for each, at in self._since.items() if each in current}
        self._failures[who] = self._failures.get(who, 0) + 1
        delay = _backoff.compute(self._failures[who])
        try:
            await asyncio.wait_for(self._stop.wait(), delay)
        except TimeoutError:
            return

    def over(self, who: str) -> None:
        """Note that all is well for one who waited."""
        trouble = self._troubles.pop(who, None)
        if trouble is None:
            return
        del self._failures[who]
        if trouble not in self._troubles.values():
            seconds = time.monotonic() - self._since.pop(trouble)
            log.warning("%s: works again after %.1f s", self._server, seconds)
