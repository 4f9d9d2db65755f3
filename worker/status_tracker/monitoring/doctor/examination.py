"""All checks, one family after the other."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import chain

from status_tracker.connection.client import UNAVAILABLE, Client
from status_tracker.connection.url import reach, without_secrets
from status_tracker.errors import ConfigError
from status_tracker.metadata import Deployment, read_deployment
from status_tracker.monitoring.doctor import configuration, deployment, producers
from status_tracker.monitoring.doctor.configuration import (
    ConfigurationSeen,
    Configured,
    see_memory,
)
from status_tracker.monitoring.doctor.finding import (
    LEVELS,
    Finding,
    Level,
    UnseenError,
    Verdict,
    attempt,
    fail,
    judged,
    ok,
    unseen,
)
from status_tracker.monitoring.doctor.permissions import examine_permissions
from status_tracker.monitoring.doctor.server import examine_server, see_clock, servers_of
from status_tracker.monitoring.health import MaxLag


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level."""
    return max((each.level for each in findings), key=LEVELS.index, default="ok")


async def examine(
    configured: Configured, max_lag: MaxLag, *, slips: Sequence[str] = ()
) -> list[Finding]:
    """Look at everything that there is to look at; nothing is written.

    `slips` is what is said of variables that are no settings. What cannot be looked at is a
    finding, too.
    """
    server = without_secrets(configured.redis_url)
    try:
        client = await reach(configured.redis_url)
    except ConfigError as error:
        return _out_of_reach(str(error), "mend the setting", configured, slips)
    except UNAVAILABLE as error:
        mend = "start the server, or mend redis_url, its user's password and permissions"
        return _out_of_reach(f"{server}: {error}", mend, configured, slips)
    try:
        return await _examine(client, configured, max_lag, slips)
    finally:
        await client.close()


def _out_of_reach(
    found: str, mend: str, configured: Configured, slips: Sequence[str]
) -> list[Finding]:
    """Return what can be found without a server."""
    nowhere = UnseenError("the server is out of reach")
    seen = ConfigurationSeen(configured, slips, nowhere, nowhere, nowhere, see_memory())
    return [
        fail(found, mend).of("server", "reach"),
        *judged("configuration", configuration.CHECKS, seen),
    ]


async def _examine(
    client: Client, configured: Configured, max_lag: MaxLag, slips: Sequence[str]
) -> list[Finding]:
    verdict, there = await _meta(client, configured.prefix)
    findings = await _examine_servers(client)
    if isinstance(there, Deployment):
        permissions = await attempt(examine_permissions(client, there.keys))
        if isinstance(permissions, UnseenError):
            permissions = unseen(permissions)
        findings.append(permissions.of("server", "permissions"))
    findings.append(verdict.of("deployment", "meta"))
    if isinstance(there, Deployment):
        lease_ttl = configured.lease_ttl / 1000
        seen = await deployment.see_deployment(client, there, lease_ttl=lease_ttl, max_lag=max_lag)
        findings += judged("deployment", deployment.CHECKS, seen)
        left = await producers.see_producers(client, there, seen.fleet)
        findings += judged("producers", producers.CHECKS, left)
    settings = ConfigurationSeen(
        configured, slips, there, client.is_cluster, await attempt(see_clock(client)), see_memory()
    )
    return [*findings, *judged("configuration", configuration.CHECKS, settings)]


async def _examine_servers(client: Client) -> list[Finding]:
    servers = await attempt(servers_of(client))
    if isinstance(servers, UnseenError):
        away = fail(f"no node can be asked: {servers}", "start the nodes that are away")
        return [away.of("server", "reach")]
    found = await asyncio.gather(*(examine_server(*each) for each in servers.items()))
    return list(chain.from_iterable(found))


async def _meta(client: Client, prefix: str) -> tuple[Verdict, Deployment | UnseenError]:
    """Return what is to be said of the deployment's `meta` key, and the deployment."""
    try:
        found = await attempt(read_deployment(client, prefix))
    except ConfigError as error:
        mend = "mend that first: nothing else of the deployment was looked at"
        return fail(str(error), mend), UnseenError("no deployment can be read")
    if isinstance(found, UnseenError):
        return unseen(found), found
    return ok(
        f"{found.partitions} partitions, layout {found.keys.layout}, revision {found.revision}"
    ), found
