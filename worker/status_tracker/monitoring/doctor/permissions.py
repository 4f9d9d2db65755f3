"""Whether the user of a URL may do all that a worker does.

The server is asked by a script: every user that may run scripts can ask that of itself, while ACL
DRYRUN and ACL GETUSER are for administrators.
"""

from collections.abc import Iterator

from redis.exceptions import NoPermissionError, ResponseError

from status_tracker.connection.client import Client, Command
from status_tracker.keys import GROUP, Keys
from status_tracker.lua.allowed import refused
from status_tracker.monitoring.doctor.finding import Verdict, fail, ok
from status_tracker.text import decoded

MOST_NAMED = 6
"""Commands that are named in a line."""

_ANY_ID = "0-1"


def needed(keys: Keys, *, is_cluster: bool) -> list[Command]:
    """Return every command that a worker sends, itself or in its scripts, on a key of each sort."""
    own, lease = keys.partition(0), keys.lease(0)
    status, history = own.status("task", "any"), own.history("task", "any")
    phase, counts, stalled = own.phase("task", "any"), own.counts("task"), own.stalled("task")
    hashes = (keys.meta, own.partition, counts)
    return [
        *[("INFO",), ("TIME",)],
        *([("CLUSTER", "SLOTS"), ("ASKING",)] if is_cluster else []),
        *[("EVAL", "return 1", "1", keys.meta), ("EVALSHA", "any", "1", keys.meta)],
        *[("TYPE", key) for key in (keys.meta, own.events, status)],
        *[("EXISTS", key) for key in (own.events, status)],
        *[("HGETALL", keys.meta), ("HMGET", keys.meta, "any")],
        *[("HGET", key, "any") for key in hashes],
        *[("HSET", key, "any", "any") for key in hashes],
        *[("HMGET", own.partition, "any"), ("HDEL", own.partition, "any")],
        *[("GET", lease), ("SET", lease, "any", "PX", "1"), ("MGET", lease), ("DEL", lease)],
        *[("ZADD", keys.workers, "0", "any"), ("ZREM", keys.workers, "any")],
        *[("ZRANGE", keys.workers, "0", "-1"), ("ZRANGEBYSCORE", keys.workers, "0", "0")],
        ("ZREMRANGEBYSCORE", keys.workers, "0", "0"),
        *[("XREAD", "COUNT", "1", "STREAMS", own.events, _ANY_ID)],
        *[("XRANGE", own.events, "-", "+"), ("XREVRANGE", own.events, "+", "-")],
        *[("XINFO", "GROUPS", own.events), ("XINFO", "STREAM", own.events)],
        *[("XGROUP", "CREATE", own.events, GROUP, "0"), ("XSETID", own.events, _ANY_ID)],
        *[("XGROUP", "SETID", own.events, GROUP, "0"), ("DEL", own.events)],
        *[("XADD", key, "*", "any", "any") for key in (own.events, own.changes, own.rejected)],
        *[("XTRIM", key, "MAXLEN", "0") for key in (own.events, own.rejected)],
        *[("XPENDING", own.events, GROUP), ("XDEL", own.changes, _ANY_ID)],
        *[("MGET", status), ("MSET", status, "any"), ("DEL", status, history)],
        *[("ZADD", key, "0", "any") for key in (phase, stalled)],
        *[("ZREM", key, "any") for key in (phase, stalled)],
        *[("ZCARD", phase), ("ZCOUNT", phase, "0", "0"), ("ZRANGE", phase, "0", "-1")],
        *[("LPUSH", history, "any"), ("LTRIM", history, "0", "0")],
    ]


async def examine_permissions(client: Client, keys: Keys) -> Verdict:
    """Ask what the user may do; raises one of `UNAVAILABLE`."""
    user = await _user(client)
    mend = f"let a worker's user have all commands on ~{keys.prefix}:*, INFO and TIME"
    commands = needed(keys, is_cluster=client.is_cluster)
    try:
        forbidden = await refused(client, meta=keys.meta, commands=commands)
    except NoPermissionError as error:
        return fail(f"{user} may not run scripts on {keys.meta}, as workers do ({error})", mend)
    if not forbidden:
        return ok(f"{user} may do all that a worker does")
    return fail(f"{user} may not {', '.join(_named(forbidden))}, as a worker does", mend)


async def _user(client: Client) -> str:
    """Return what the user is called; most may not ask that."""
    try:
        return f"the user {decoded(await client.execute('ACL', 'WHOAMI'))}"
    except ResponseError:
        return "the user of the URL"


def _named(commands: list[Command]) -> Iterator[str]:
    """Yield commands as people read them: ``XGROUP SETID status:events:{0}``."""
    for command in commands[:MOST_NAMED]:
        yield " ".join(map(str, command[: _words_of(command)]))
    if len(commands) > MOST_NAMED:
        yield f"and {len(commands) - MOST_NAMED} more"


def _words_of(command: Command) -> int:
    """Return how many words of a command say what it does and to which key."""
    if command[0] in ("EVAL", "EVALSHA", "INFO", "TIME", "ASKING"):
        return 1
    if command[0] == "XREAD":
        return 5
    return 3 if command[0] in ("XINFO", "XGROUP") else 2
