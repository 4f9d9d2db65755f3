"""From a URL to a client: of one server, of a Sentinel's master, or of a Redis Cluster."""

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import hiredis
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff

from status_tracker.connection.cluster import Cluster
from status_tracker.errors import ConfigError

Client = Redis | RedisCluster

UNREACHABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.InvalidResponse,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
    OSError,
)
"""The server did not answer, or says that it is still loading, or something else answered; in a
cluster, also: no node that has the key's slot."""
UNAVAILABLE = (*UNREACHABLE, exceptions.ResponseError)
"""It cannot be used now: out of reach, full, read-only, busy, or a key has another type."""

ANSWER_WITHIN = 5.0
"""Seconds without an answer after which a connection counts as lost. Longer than any blocking read,
and than the longest script a server should be made to run."""

SENTINEL_PORT = 26379

_FORMS = (
    "redis://[user:password@]host:port/db, rediss://… with TLS, unix:///path/to/socket, "
    "redis://host:port,host:port,… for a cluster, "
    "or redis+sentinel://host:port,host:port/service/db"
)
_SENTINEL = "+sentinel"

# The others of redis-py's options would change how replies read, or when to give up.
_OPTIONS = re.compile(r"db|username|password|ssl_\w+")
# Sentinels have users of their own.
_SENTINEL_OPTIONS = {"sentinel_username": "username", "sentinel_password": "password"}

_NO_URL = (ValueError, TypeError, exceptions.RedisError)
"""What is raised somewhere on the way from a URL that is none to a client."""

_ours: dict[str, Any] = {
    # The replies of RESP3 are maps, dearer to build than the flat lists of RESP2.
    "protocol": 2,
    "socket_timeout": ANSWER_WITHIN,
    "socket_connect_timeout": ANSWER_WITHIN,
    # By redis-py's own, a reply of some hundred KiB is copied together piece by piece.
    "socket_read_size": 2**20,
    # A commit that redis-py sends again on its own would look like another worker's.
    "retry": Retry(NoBackoff(), 0),
}

# A blocking read holds its connection: every partition needs one of its own.
_AS_MANY_AS_NEEDED = 2**31


def connect(url: str) -> Redis:
    """Return a client for the (first) server, or for the Sentinels' master; it connects later.

    Raises `ConfigError` for a URL that cannot be used, without repeating what may be a password.
    """
    return _clients(url)[0]


async def reach(url: str) -> Client:
    """Return a client that works, for all of a cluster where the server is part of one.

    Of several hosts the first that answers will do. Raises one of `UNAVAILABLE` where none does,
    and `ConfigError` for what waiting will not mend.
    """
    clients = _clients(url)
    trouble: BaseException | None = None
    for number, client in enumerate(clients):
        try:
            is_cluster = await _is_cluster(client)
        except BaseException as error:
            await close(client)
            if not isinstance(error, UNAVAILABLE):
                raise
            trouble = error
            continue
        if is_cluster:
            await close(client)
            return _cluster(url, number)
        if len(clients) > 1:
            await close(client)
            raise ConfigError(
                "redis_url: it names several servers, which are no cluster; "
                "for a replicated server name its Sentinels: redis+sentinel://…"
            )
        return client
    raise trouble or AssertionError("a URL has at least one host")


async def _is_cluster(client: Redis) -> bool:
    try:
        info = await client.info("cluster")
    except exceptions.AuthenticationError as error:
        raise ConfigError(f"redis_url: the server refuses user or password: {error}") from None
    except UNAVAILABLE as error:
        if re.search(r"DB index|SELECT is not allowed", str(error)):
            raise ConfigError("redis_url: the server has no such database") from None
        raise
    return bool(info.get("cluster_enabled"))


async def close(client: Client) -> None:
    """Close a client's connections, and those to the Sentinels."""
    await (client.disconnect() if isinstance(client, Cluster) else client.aclose())
    sentinel = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    if sentinel is not None:
        await sentinel.aclose()


def _clients(url: str) -> list[Redis]:
    """Return a client for each host of a URL, or one for the Sentinels' master."""
    try:
        parts = urlsplit(url)
        if parts.scheme.endswith(_SENTINEL):
            clients = [_sentinel_master(parts)]
        else:
            clients = [_server(each) for each in _each_host(parts)]
        _check_files(parts)
        for client in clients:
            # Finds values that redis-py does not know.
            client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except _NO_URL:
        raise _refused() from None
    for client in clients:
        pool = client.connection_pool
        pool.connection_class = _direct(pool.connection_class)
        client.set_response_callback("XREAD", _as_it_is)
    return clients


def _refused() -> ConfigError:
    return ConfigError(
        f"redis_url: not a URL that can be used; write {_FORMS}, with no options but db and ssl_…, "
        "and the characters / ? # @ : % of a password as %2F %3F %23 %40 %3A %25"
    )


def _server(parts: SplitResult) -> Redis:
    if not _can_be_used(parts):
        raise ValueError("not a URL of one server")
    return _Once.from_url(parts.geturl(), max_connections=_AS_MANY_AS_NEEDED, **_ours)


def _sentinel_master(parts: SplitResult) -> Redis:
    path = re.fullmatch(r"/([^/@]+)(/\d*)?", parts.path)
    scheme = parts.scheme.removesuffix(_SENTINEL)
    if path is None or scheme not in ("redis", "rediss") or not parts.netloc:
        raise ValueError("not a URL of Sentinels")
    options = parse_qsl(parts.query, keep_blank_values=True)
    own = urlencode([each for each in options if each[0] not in _SENTINEL_OPTIONS])
    hosts = _each_host(parts._replace(scheme=scheme, path=path[2] or "", query=own))
    if not all(map(_can_be_used, hosts)):
        raise ValueError("not a URL of Sentinels")
    first: dict[str, Any] = {**parse_url(hosts[0].geturl())}
    common = {name: first[name] for name in first.keys() - {"host", "port"}} | _ours
    if common.pop("connection_class", None) is SSLConnection:
        common["ssl"] = True
    for_sentinels = {
        name: value for name, value in common.items() if name not in ("username", "password", "db")
    }
    for_sentinels |= {
        _SENTINEL_OPTIONS[name]: value for name, value in options if name in _SENTINEL_OPTIONS
    }
    sentinels = _Sentinels(  # type: ignore[no-untyped-call]
        [(each.hostname or "localhost", each.port or SENTINEL_PORT) for each in hosts],
        sentinel_kwargs=for_sentinels,
        **common,
    )
    master: Redis = sentinels.master_for(
        unquote(path[1]), redis_class=_Once, max_connections=_AS_MANY_AS_NEEDED
    )
    return master


def _cluster(url: str, first: int) -> RedisCluster:
    """Return a client for the cluster that the hosts of a URL are part of."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss"):
        raise ConfigError(f"redis_url: a cluster is reached by TCP, not by {parts.scheme}://")
    hosts = _each_host(parts)
    own = parse_url(hosts[first].geturl())
    if own.pop("db", 0):
        raise ConfigError("redis_url: a cluster has no databases but 0")
    try:
        client = Cluster.from_url(
            hosts[first]._replace(path="").geturl(),
            startup_nodes=[
                ClusterNode(each.hostname or "localhost", each.port or 6379) for each in hosts
            ],
            max_connections=_AS_MANY_AS_NEEDED,
            # Partitions whose slots are served go on.
            require_full_coverage=False,
            # A slot that moved is noted; all connections need not be closed for it.
            reinitialize_steps=0,
            **_ours,
        )
    except _NO_URL:
        raise _refused() from None
    kind = _direct(client.connection_kwargs["connection_class"])
    for node in client.startup_nodes:
        node.connection_class = kind
    client.connection_kwargs["connection_class"] = kind
    client.set_response_callback("XREAD", _as_it_is)
    return client


class _Sentinels(Sentinel):
    """Sentinels whose errors are short: redis-py's tell all about each client."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the master's host and port; raises `MasterNotFoundError`."""
        try:
            found: tuple[str, int] = await super().discover_master(service_name)
        except MasterNotFoundError as error:
            message, _, unanswered = str(error).partition(" : ")
            if unanswered:
                message += "; not every Sentinel answers"
            raise MasterNotFoundError(message) from None
        return found


class _Once(Redis):
    """A client that sends a command once, on a connection that it keeps.

    redis-py gets ready to try again, which we do not let it do, and counts connections and
    commands for metrics: some quarter of a command's time.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: list[AbstractConnection] = []

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = await self.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            if connection.is_connected and await connection.can_read():
                await connection.disconnect()  # the server closed it
            if not connection.is_connected:
                await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command(*args)
            return await self.parse_response(connection, args[0], **options)  # type: ignore[arg-type]
        finally:
            self._idle.append(connection)


class _Direct(AbstractConnection):
    """A connection whose commands hiredis writes, and that sends them at once.

    redis-py's blocking connections do so; its asyncio connections join a thousand keys in Python,
    and leave the sending to a task, which has its turn when others have had theirs.
    """

    def pack_command(self, *args: Any) -> list[bytes]:
        name, *rest = args
        # redis-py writes "CLUSTER SLOTS" as one name; on the wire it is two words.
        return [hiredis.pack_command((*name.split(), *rest))]

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        writer = self._writer
        if writer is None or isinstance(command, str | bytes):
            await super().send_packed_command(command, check_health)
            return
        try:
            writer.writelines(command)
            if writer.transport.get_write_buffer_size():
                async with asyncio.timeout(self.socket_timeout):
                    await writer.drain()
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise exceptions.TimeoutError("Timeout writing to socket") from None
        except OSError as error:
            await self.disconnect(nowait=True)
            raise exceptions.ConnectionError(f"Error while writing to socket. {error}.") from error
        except BaseException:
            # What is half sent cannot be taken back.
            await self.disconnect(nowait=True)
            raise


def _direct(kind: type) -> type:
    return type("_Connection", (_Direct, kind), {})


def _as_it_is(response: Any, **_: Any) -> Any:
    """Take entries as the server sends them: redis-py's dicts cost more than the decoding."""
    return response


def _each_host(parts: SplitResult) -> list[SplitResult]:
    """Return a URL for each of the hosts that one names, separated by commas."""
    user, at, text = parts.netloc.rpartition("@")
    hosts = text.split(",")
    if len(hosts) > 1 and not all(hosts):
        raise ValueError("a host is empty")
    return [parts._replace(netloc=f"{user}{at}{host}") for host in hosts]


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
    """Return what of a URL may stand in a log: scheme, hosts, port and path."""
    try:
        parts = urlsplit(url)
    except ValueError:  # its message repeats the URL
        return "redis_url"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
