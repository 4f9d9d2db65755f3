"""Whether a worker's settings suit its deployment, its server and this host."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from status_tracker.connection.url import without_secrets
from status_tracker.errors import ConfigError
from status_tracker.metadata import Deployment
from status_tracker.monitoring.doctor.finding import (
    Checks,
    UnseenError,
    Verdict,
    fail,
    known,
    ok,
    warn,
)
from status_tracker.monitoring.doctor.server import Clock
from status_tracker.rules import load_rules

MOST_OF_MEMORY = 0.5
"""The share of the host's memory that statuses may take."""

ROUND_TRIPS = 4
"""A heartbeat takes as many, at the least: leases, workers, the rules, and one to spare."""

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")

_MIB = 2**20


class Configured(Protocol):
    """What is looked at of a worker's settings."""

    @property
    def redis_url(self) -> str:
        """The server."""

    @property
    def prefix(self) -> str:
        """What every key begins with."""

    @property
    def partitions(self) -> int:
        """How many streams there are."""

    @property
    def layout(self) -> Literal["single", "cluster", "auto"]:
        """How keys are named."""

    @property
    def rules(self) -> Path | None:
        """The file that is to be in force; None for whatever is."""

    @property
    def lease_ttl(self) -> int:
        """How long a lease lasts, in ms."""

    @property
    def heartbeat(self) -> int:
        """How often leases are renewed, in ms."""

    @property
    def live_bytes(self) -> int:
        """Bytes of statuses that are kept in memory."""


class ConfigurationSeen(Struct, frozen=True):
    """A worker's settings, and what they are to suit."""

    configured: Configured
    slips: Sequence[str]
    """What is said of variables that look like settings and are none."""
    deployment: Deployment | UnseenError
    is_cluster: bool | UnseenError
    clock: Clock | UnseenError
    memory: int | UnseenError
    """Bytes that this host, or container, has."""


def see_memory() -> int | UnseenError:
    """Return how many bytes of memory a process may have here."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return UnseenError("the system does not say how much memory it has")
    try:
        text = CONTAINER_LIMIT.read_text().strip()
    except OSError:
        return machine
    return min(machine, int(text)) if text.isdecimal() else machine


def _settings(seen: ConfigurationSeen) -> Iterator[Verdict]:
    for slip in seen.slips:
        yield warn(slip, "mend its name, or remove it")
    if not seen.slips:
        server = without_secrets(seen.configured.redis_url)
        yield ok(f"prefix {seen.configured.prefix} at {server}")


def _partitions(seen: ConfigurationSeen) -> Iterator[Verdict]:
    configured, there = seen.configured.partitions, known(seen.deployment).partitions
    if configured == there:
        yield ok(f"{there}, as the deployment has")
    else:
        yield fail(
            f"configured are {configured}, but the deployment has {there}: a worker ends at once",
            f"partitions = {there}; another number needs another prefix",
        )


def _layout(seen: ConfigurationSeen) -> Iterator[Verdict]:
    configured, is_cluster = seen.configured.layout, known(seen.is_cluster)
    if is_cluster and configured == "single":
        yield fail(
            "configured is single, but the server is part of a Redis Cluster", 'layout = "cluster"'
        )
        return
    there = known(seen.deployment).keys.layout
    if configured in ("auto", there):
        yield ok(f"{there}, as the deployment has")
    else:
        yield fail(
            f"configured is {configured}, but the deployment has {there}: a worker ends at once",
            f'layout = "{there}"',
        )


def _rules(seen: ConfigurationSeen) -> Iterator[Verdict]:
    file = seen.configured.rules
    if file is None:
        yield ok("whatever is in force")
        return
    try:
        rules = load_rules(file)
    except ConfigError as error:
        yield fail(str(error), "mend the file; status-tracker check looks at it")
        return
    deployment = known(seen.deployment)
    revision = deployment.had(rules)
    if revision is None:
        yield fail(
            f"{file} is not what is in force, nor was it ever: a worker ends at once",
            f"status-tracker rules diff {file}, then rules apply; or leave rules empty",
        )
    elif revision < deployment.revision:
        yield warn(
            f"{file} has revision {revision}, and {deployment.revision} is in force, which counts",
            "bring the file up to date, or leave rules empty",
        )
    else:
        yield ok(f"{file} is in force")


def _heartbeat(seen: ConfigurationSeen) -> Iterator[Verdict]:
    took = known(seen.clock).round_trip * 1000
    heartbeat, ttl = seen.configured.heartbeat, seen.configured.lease_ttl
    found = f"every {heartbeat:,} ms, leases of {ttl:,} ms; the server answers in {took:,.1f} ms"
    if took * ROUND_TRIPS > heartbeat:
        yield warn(
            f"{found}: leases may run out while they are renewed",
            f"a heartbeat of {ROUND_TRIPS} answers at least, and a lease_ttl of many heartbeats",
        )
    else:
        yield ok(found)


def _memory(seen: ConfigurationSeen) -> Iterator[Verdict]:
    memory, live = known(seen.memory), seen.configured.live_bytes
    found = f"live_bytes is {live / _MIB:,.0f} MiB, this host has {memory / _MIB:,.0f} MiB"
    if live > memory * MOST_OF_MEMORY:
        yield warn(f"{found}: the system may end a worker", "a smaller live_bytes, or more memory")
    else:
        yield ok(found)


CHECKS: Checks[ConfigurationSeen] = {
    "settings": _settings,
    "partitions": _partitions,
    "layout": _layout,
    "rules": _rules,
    "heartbeat": _heartbeat,
    "memory": _memory,
}
