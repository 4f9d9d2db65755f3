"""Whether a server is one that a deployment can be trusted to."""

import re
import time
from collections.abc import Iterator, Mapping

from msgspec import Struct
from redis.exceptions import ResponseError

from status_tracker.connection.client import UNREACHABLE, Client, server_info
from status_tracker.connection.cluster import Cluster
from status_tracker.metadata import OLDEST_SERVER
from status_tracker.monitoring.doctor.finding import (
    Checks,
    Finding,
    UnseenError,
    Verdict,
    attempt,
    fail,
    judged,
    known,
    ok,
    warn,
)

SETTINGS = (
    *("appendfsync", "save", "stop-writes-on-bgsave-error", "client-output-buffer-limit"),
    *("stream-node-max-bytes", "stream-node-max-entries"),
)
"""Of the server, by their names in its configuration."""

MUCH, TOO_MUCH = 0.8, 0.95
"""Shares of the memory from which on it is time to act, and too late."""

LARGEST_NODE = 64 * 2**10
MOST_IN_NODE = 1_000
"""Bytes and entries of a node of a stream: to find an entry, the server goes through its node."""

SMALLEST_BUFFER = 32 * 2**20
"""Bytes: a worker reads some 8 MiB at once, and whoever reads keys may ask for more."""

CLOCKS_APART = 1.0
"""Seconds: the rules' `clock_skew` forgives as much."""

CLOCKS_FAR_APART = 60.0
"""Seconds: what is further ahead is rejected, unless the rules' `max_clock_skew` says otherwise."""

LOOKS_AT_CLOCK = 5

_MIB = 2**20


class Clock(Struct, frozen=True):
    """A server's clock, as seen from this host."""

    ahead: float
    """Seconds by which it is before this host's; negative where it is behind."""
    round_trip: float
    """Seconds that a question and its answer take."""


class ServerSeen(Struct, frozen=True):
    """What one server says of itself."""

    info: Mapping[str, str] | UnseenError
    config: Mapping[str, str] | UnseenError
    clock: Clock | UnseenError

    def text(self, field: str) -> str:
        """Return a field of INFO; raises `UnseenError`."""
        info = known(self.info)
        if field not in info:
            raise UnseenError(f"INFO does not say {field}")
        return info[field].strip()

    def number(self, field: str) -> int:
        """Return a field of INFO that is a number; raises `UnseenError`."""
        text = self.text(field)
        if not re.fullmatch(r"\d{1,18}", text):
            raise UnseenError(f"INFO says that {field} is {text}")
        return int(text)

    def setting(self, name: str) -> str:
        """Return a setting; raises `UnseenError`."""
        config = known(self.config)
        if name not in config:
            raise UnseenError(f"CONFIG GET does not say {name}")
        return config[name]


async def servers_of(client: Client) -> dict[str, Client]:
    """Return each server that holds keys, by its address; "" where there is one only.

    Raises one of `UNAVAILABLE`.
    """
    if isinstance(client, Cluster):
        return dict(await client.masters())
    return {"": client}


async def examine_server(address: str, client: Client) -> Iterator[Finding]:
    """Look at a server; return what was found."""
    about = f"{address}: " if address else ""
    try:
        info: Mapping[str, str] | UnseenError = await server_info(client)
    except UNREACHABLE as error:
        away = fail(f"it cannot be used: {error}", "start it, or mend the way to it")
        return iter([away.of("server", "reach", about)])
    except ResponseError as error:
        info = UnseenError(str(error))
    config, clock = await attempt(_config(client)), await attempt(see_clock(client))
    return judged("server", CHECKS, ServerSeen(info, config, clock), about)


async def see_clock(client: Client) -> Clock:
    """Compare the server's clock with this host's; raises one of `UNAVAILABLE`."""
    # The quickest answer says the most; the first command may have had to connect.
    looks = [await _look_at_clock(client) for _ in range(LOOKS_AT_CLOCK)]
    return min(looks, key=lambda clock: clock.round_trip)


async def _look_at_clock(client: Client) -> Clock:
    begun, before = time.monotonic(), time.time()
    seconds, microseconds = await client.execute("TIME")
    round_trip = time.monotonic() - begun
    ahead = int(seconds) + int(microseconds) / 1e6 - (before + round_trip / 2)
    return Clock(ahead, round_trip)


async def _config(client: Client) -> dict[str, str]:
    flat = [each.decode() for each in await client.execute("CONFIG", "GET", *SETTINGS)]
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _version(seen: ServerSeen) -> Iterator[Verdict]:
    version = seen.text("redis_version")
    info = known(seen.info)
    name = f"Valkey {info['valkey_version'].strip()}" if "valkey_version" in info else None
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_SERVER:
        yield fail(
            f"Redis {version}: it cannot keep a group in step, nor refuse a script as a whole",
            "run Redis 7.0 or later, or any Valkey",
        )
    else:
        yield ok(name or f"Redis {version}")


def _role(seen: ServerSeen) -> Iterator[Verdict]:
    if seen.text("role") == "master":
        replicas = seen.number("connected_slaves")
        yield ok(f"a master with {replicas} replica{'' if replicas == 1 else 's'}")
        return
    host, port = seen.text("master_host"), seen.text("master_port")
    yield fail(
        f"a replica of {host}:{port}, which takes no writes: no worker can work here",
        "name the master, or the Sentinels: redis+sentinel://…",
    )


def _persistence(seen: ServerSeen) -> Iterator[Verdict]:
    mend = "appendonly yes, and appendfsync everysec, in its configuration"
    if seen.number("aof_enabled"):
        yield _append_only(seen)
    elif isinstance(seen.config, UnseenError):
        lost = "a crash loses what came since the last snapshot, if there are any"
        yield warn(f"no append-only file: {lost} (its settings cannot be read)", mend)
    elif seen.setting("save"):
        changes = seen.number("rdb_changes_since_last_save")
        lost = f"a crash loses what came since the last one, {changes:,} changes by now"
        yield warn(f"only snapshots (save {seen.setting('save')}): {lost}", mend)
    else:
        lost = "a restart loses every update, status and cursor"
        yield warn(f"nothing is written to disk: {lost}", mend)
    if seen.text("rdb_last_bgsave_status") != "ok" and _stops_writes(seen):
        yield fail(
            "the last snapshot failed, and until one succeeds the server takes no writes",
            "look into the server's log: its disk may be full, or the memory for a fork missing",
        )


def _append_only(seen: ServerSeen) -> Verdict:
    if seen.text("aof_last_write_status") != "ok":
        return fail(
            "the append-only file cannot be written, and until it can the server takes no writes",
            "look into the server's log: its disk may be full",
        )
    if isinstance(seen.config, UnseenError):
        return ok("an append-only file")
    fsync = seen.setting("appendfsync")
    if fsync == "no":
        return warn(
            "an append-only file with appendfsync no: a crash of the machine loses what the "
            "kernel had not written, half a minute or more",
            "appendfsync everysec",
        )
    return ok(f"an append-only file, appendfsync {fsync}")


def _stops_writes(seen: ServerSeen) -> bool:
    if isinstance(seen.config, UnseenError):
        return True
    return bool(seen.setting("save")) and seen.setting("stop-writes-on-bgsave-error") == "yes"


def _eviction(seen: ServerSeen) -> Iterator[Verdict]:
    policy, evicted = seen.text("maxmemory_policy"), seen.number("evicted_keys")
    if policy == "noeviction":
        gone = f"; {evicted:,} keys went by an earlier policy" if evicted else ""
        yield ok(f"noeviction{gone}")
        return
    what = "statuses vanish" if policy.startswith("allkeys") else "leases vanish"
    so_far = f", as {evicted:,} keys did" if evicted else ""
    yield fail(
        f"maxmemory-policy is {policy}: when memory is full, {what}{so_far}",
        "maxmemory-policy noeviction: workers then wait, and say so",
    )


def _memory(seen: ServerSeen) -> Iterator[Verdict]:
    used, limit = seen.number("used_memory"), seen.number("maxmemory")
    if limit:
        used -= min(used, seen.number("mem_not_counted_for_evict"))
        what = "maxmemory"
    else:
        limit, what = seen.number("total_system_memory"), "the machine's memory (no maxmemory)"
    share = used / limit if limit else 0.0
    found = f"{used / _MIB:,.0f} of {limit / _MIB:,.0f} MiB are used, {share:.0%} of {what}"
    mend = "give it more memory, or keep less: see retention, max_changes and max_rejected"
    if share >= TOO_MUCH:
        yield fail(f"{found}: soon nothing can be written", mend)
    elif share >= MUCH:
        yield warn(found, mend)
    else:
        yield ok(found)


def _stream_nodes(seen: ServerSeen) -> Iterator[Verdict]:
    for name, most in (
        ("stream-node-max-bytes", LARGEST_NODE),
        ("stream-node-max-entries", MOST_IN_NODE),
    ):
        text = seen.setting(name)
        value = int(text) if text.isdecimal() else 0
        if not 0 < value <= most:
            size = "without a limit" if value == 0 else f"{value:,}"
            yield warn(
                f"{name} is {size}: each read of a stream goes through a whole node",
                f"at most {most:,}; its default will do",
            )
            return
    yield ok(", ".join(f"{name} {seen.setting(name)}" for name in SETTINGS if "node" in name))


def _output_buffers(seen: ServerSeen) -> Iterator[Verdict]:
    text = seen.setting("client-output-buffer-limit")
    found = re.search(r"normal (\d+) (\d+) (\d+)", text)
    if found is None:
        raise UnseenError(f"client-output-buffer-limit is {text}")
    limits = [int(each) for each in found.groups()[:2] if int(each)]
    if limits and min(limits) < SMALLEST_BUFFER:
        yield warn(
            f"client-output-buffer-limit is {found[0]}: a worker that reads a backlog may be cut "
            "off, again and again",
            f"client-output-buffer-limit normal 0 0 0, or at least {SMALLEST_BUFFER // _MIB}mb",
        )
    else:
        yield ok(f"client-output-buffer-limit {found[0]}")


def _clock(seen: ServerSeen) -> Iterator[Verdict]:
    clock = known(seen.clock)
    # The answer was on its way for some time: only what is more is a difference.
    apart = max(0.0, abs(clock.ahead) - clock.round_trip / 2)
    found = f"{apart:,.1f} s {'ahead of' if clock.ahead > 0 else 'behind'} this host's"
    mend = "let both follow the time by NTP"
    if apart > CLOCKS_FAR_APART and clock.ahead < 0:
        yield fail(f"{found}: updates with this host's time are rejected as future", mend)
    elif apart > CLOCKS_APART:
        yield warn(found, mend)
    else:
        yield ok("within a second of this host's")


CHECKS: Checks[ServerSeen] = {
    "version": _version,
    "role": _role,
    "persistence": _persistence,
    "eviction": _eviction,
    "memory": _memory,
    "stream nodes": _stream_nodes,
    "output buffers": _output_buffers,
    "clock": _clock,
}
