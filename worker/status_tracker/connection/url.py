"""From a URL to a client: of one server, of a Sentinel's master, or of a Redis Cluster."""

import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import redis
import redis.asyncio
from redis import exceptions, sentinel
from redis.asyncio import ConnectionPool
from redis.asyncio import sentinel as asyncio_sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry as BlockingRetry

from status_tracker.connection.client import ANSWER_WITHIN, UNAVAILABLE, Client, server_info
from status_tracker.connection.cluster import Address, Cluster
from status_tracker.connection.memory import SCHEME, servers
from status_tracker.connection.server import Server
from status_tracker.errors import ConfigError

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

# `Server` has one deadline for all of a command; with redis-py's own, each sending is a task.
_ours: dict[str, Any] = {
    # The replies of RESP3 are maps, dearer to build than the flat lists of RESP2.
    "protocol": 2,
    "socket_timeout": None,
    "socket_connect_timeout": ANSWER_WITHIN,
    "retry": Retry(NoBackoff(), 0),
    # By redis-py's own, a reply of some hundred KiB is copied together piece by piece.
    "socket_read_size": 2**20,
}

# A blocking client has no other deadline than the socket's.
_ours_blocking = {
    **_ours,
    "socket_timeout": ANSWER_WITHIN,
    "retry": BlockingRetry(NoBackoff(), 0),
}


def _short(error: exceptions.ConnectionError) -> exceptions.ConnectionError:
    """Return what Sentinels' error says, without all that redis-py tells about each client."""
    message, _, unanswered = str(error).partition(" : ")
    if unanswered:
        message += "; not every Sentinel answers"
    return type(error)(message)


class _Sentinels(asyncio_sentinel.Sentinel):
    """Sentinels whose errors are short."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the master's host and port; raises `MasterNotFoundError`."""
        try:
            found: tuple[str, int] = await super().discover_master(service_name)
        except asyncio_sentinel.MasterNotFoundError as error:
            raise _short(error) from None
        return found


class _BlockingSentinels(sentinel.Sentinel):
    """The same for blocking clients."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the master's host and port; raises `MasterNotFoundError`."""
        try:
            found: tuple[str, int] = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except sentinel.MasterNotFoundError as error:
            raise _short(error) from None
        return found


class _Parts(NamedTuple):
    """What redis-py has twice: for asyncio, and for blocking clients."""

    pool: Any
    ssl: Any
    sentinels: Any
    sentinel_pool: Any
    options: dict[str, Any]


_ASYNC = _Parts(
    ConnectionPool,
    redis.asyncio.SSLConnection,
    _Sentinels,
    asyncio_sentinel.SentinelConnectionPool,
    _ours,
)
_BLOCKING = _Parts(
    redis.ConnectionPool,
    redis.SSLConnection,
    _BlockingSentinels,
    sentinel.SentinelConnectionPool,
    _ours_blocking,
)


def connect(url: str) -> Server:
    """Return a client for the (first) server, or for the Sentinels' master; it connects later.

    Raises `ConfigError` for a URL that cannot be used, without repeating what may be a password.
    """
    return _servers(url)[0]


def connect_cluster(url: str) -> Cluster:
    """Return a client for the cluster that the hosts of a URL are part of; it connects later.

    Raises `ConfigError` for a URL that cannot be used.
    """
    _pools(url, _ASYNC)
    return _cluster(url, 0)


def names_several(url: str) -> bool:
    """Tell whether a URL names several servers, which only a cluster's does."""
    parts = urlsplit(url)
    return not parts.scheme.endswith(_SENTINEL) and "," in parts.netloc


def async_pool(url: str) -> ConnectionPool:
    """Return what makes connections for asyncio, as `blocking_pool` does for others."""
    pool: ConnectionPool = _pools(url, _ASYNC)[0]
    return pool


def blocking_pool(url: str) -> redis.ConnectionPool:
    """Return what makes blocking connections to the (first) server, or to the Sentinels' master.

    Raises `ConfigError` for a URL that cannot be used.
    """
    pool: redis.ConnectionPool = _pools(url, _BLOCKING)[0]
    return pool


def blocking_cluster(url: str) -> redis.RedisCluster:
    """Return a blocking client of the cluster that the hosts of a URL are part of.

    It connects at once: raises one of `UNREACHABLE`, and `ConfigError` for a URL that cannot be
    used.
    """
    hosts, own = _cluster_hosts(url, 0, _BLOCKING)
    nodes = [ClusterNode(host, port) for host, port in hosts]  # type: ignore[no-untyped-call]
    common = {**_options(own), **_ours_blocking, "ssl": own.connection_class is redis.SSLConnection}
    common.pop("db", None)  # redis-py refuses it, also where it is 0
    return redis.RedisCluster(startup_nodes=nodes, require_full_coverage=False, **common)


async def reach(url: str) -> Client:
    """Return a client that works, for all of a cluster where the server is part of one.

    Of several hosts the first that answers will do. Raises one of `UNAVAILABLE` where none does,
    and `ConfigError` for what waiting will not mend.
    """
    servers = _servers(url)
    trouble: BaseException | None = None
    for number, server in enumerate(servers):
        try:
            is_cluster = await _is_cluster(server)
        except BaseException as error:
            await server.close()
            if not isinstance(error, UNAVAILABLE):
                raise
            trouble = error
            continue
        if is_cluster:
            await server.close()
            return _cluster(url, number)
        if len(servers) > 1:
            await server.close()
            raise ConfigError(
                "redis_url: it names several servers, which are no cluster; "
                "for a replicated server name its Sentinels: redis+sentinel://…"
            )
        return server
    raise trouble or AssertionError("a URL has at least one host")


async def _is_cluster(server: Server) -> bool:
    try:
        info = await server_info(server)
    except exceptions.AuthenticationError as error:
        raise ConfigError(f"redis_url: the server refuses user or password: {error}") from None
    except UNAVAILABLE as error:
        if re.search(r"DB index|SELECT is not allowed", str(error)):
            raise ConfigError("redis_url: the server has no such database") from None
        raise
    return info.get("cluster_enabled") == "1"


def _servers(url: str) -> list[Server]:
    """Return a client for each host of a URL, or one for the Sentinels' master."""
    pools = _pools(url, _ASYNC)
    parts = urlsplit(url)
    # Each Sentinel that does not answer takes its time.
    hosts = len(_each_host(parts)) if parts.scheme.endswith(_SENTINEL) else 0
    return [Server(pool, connects_within=ANSWER_WITHIN * (1 + hosts)) for pool in pools]


def _pools(url: str, of: _Parts) -> list[Any]:
    """Return what makes connections to each host of a URL, or to the Sentinels' master."""
    try:
        parts = urlsplit(url)
        if parts.scheme == SCHEME:
            return [_in_memory(url, of)]
        sentinels = parts.scheme.endswith(_SENTINEL)
        if sentinels:
            pools = [_sentinel_pool(parts, of)]
        else:
            pools = [_pool(each, of) for each in _each_host(parts)]
        _check_files(parts)
        for pool in pools:
            # Finds values that redis-py does not know.
            pool.make_connection()
    except _NO_URL:
        raise _refused() from None
    return pools


def _in_memory(url: str, of: _Parts) -> Any:
    """Return what makes connections to a server of the test kit."""
    if url not in servers:
        raise ConfigError(f"redis_url: {url} is not there: it was the server of a test that ended")
    return servers[url].blocking if of is _BLOCKING else servers[url].asyncio


def _refused() -> ConfigError:
    return ConfigError(
        f"redis_url: not a URL that can be used; write {_FORMS}, with no options but db and ssl_…, "
        "and the characters / ? # @ : % of a password as %2F %3F %23 %40 %3A %25"
    )


def _pool(parts: SplitResult, of: _Parts) -> Any:
    """Return what makes connections to the server of a URL."""
    if not _can_be_used(parts):
        raise ValueError("not a URL of one server")
    return of.pool.from_url(parts.geturl(), **of.options)


def _sentinel_pool(parts: SplitResult, of: _Parts) -> Any:
    """Return what makes connections to the master that Sentinels name."""
    path = re.fullmatch(r"/([^/@]+)(/\d*)?", parts.path)
    scheme = parts.scheme.removesuffix(_SENTINEL)
    if path is None or scheme not in ("redis", "rediss") or not parts.netloc:
        raise ValueError("not a URL of Sentinels")
    options = parse_qsl(parts.query, keep_blank_values=True)
    own = urlencode([each for each in options if each[0] not in _SENTINEL_OPTIONS])
    pools = [
        _pool(each, of)
        for each in _each_host(parts._replace(scheme=scheme, path=path[2] or "", query=own))
    ]
    common = {**_options(pools[0]), "ssl": pools[0].connection_class is of.ssl}
    addresses = [
        (pool.connection_kwargs.get("host", "localhost"), each.port or SENTINEL_PORT)
        for pool, each in zip(pools, _each_host(parts), strict=True)
    ]
    for_sentinels = {
        name: value
        for name, value in {**common, **of.options, "socket_timeout": ANSWER_WITHIN}.items()
        if name not in ("username", "password", "db", "socket_read_size")
    }
    for_sentinels |= {
        _SENTINEL_OPTIONS[name]: value for name, value in options if name in _SENTINEL_OPTIONS
    }
    sentinels = of.sentinels(addresses, sentinel_kwargs=for_sentinels)
    return of.sentinel_pool(unquote(path[1]), sentinels, **common, **of.options)


def _options(pool: Any) -> dict[str, Any]:
    """Return what a URL says besides the address: redis-py adds things of its own to that."""
    given = pool.connection_kwargs
    return {name: value for name, value in given.items() if _OPTIONS.fullmatch(name)}


def _cluster_hosts(url: str, first: int, of: _Parts) -> tuple[list[Address], Any]:
    """Return the hosts of a cluster's URL, and what makes connections to one of them."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss"):
        raise ConfigError(f"redis_url: a cluster is reached by TCP, not by {parts.scheme}://")
    hosts = _each_host(parts)
    own = _pool(hosts[first], of)
    if own.connection_kwargs.get("db"):
        raise ConfigError("redis_url: a cluster has no databases but 0")
    return [(each.hostname or "localhost", each.port or 6379) for each in hosts], own


def _cluster(url: str, first: int) -> Cluster:
    """Return a client for the cluster that the hosts of a URL are part of."""
    hosts, own = _cluster_hosts(url, first, _ASYNC)

    def node(address: Address) -> Server:
        host, port = address
        options = {**_options(own), **_ours, "host": host, "port": port}
        return Server(ConnectionPool(own.connection_class, **options))

    return Cluster(hosts, node)


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
