"""What everyone who connects must agree on: the server, the number of partitions, the layout."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from msgspec import Struct
from redis.exceptions import ResponseError

from status_tracker.connection.client import Client, server_info
from status_tracker.errors import ConfigError
from status_tracker.keys import Keys, Layout
from status_tracker.lua.create import create
from status_tracker.rules import Rules, load_rules, parse_rules
from status_tracker.text import decoded_fields

VERSION = "1"
"""Of the keys' names and contents."""

FIELDS = {"version", "partitions", "layout"}
"""What the `meta` key of every deployment holds."""

OLDEST_SERVER = (7, 0)
"""The first with `XGROUP SETID … ENTRIESREAD`, and that refuses a script whole when it is full."""


async def ensure_deployment(
    client: Client, prefix: str, partitions: int, layout: Layout | Literal["auto"]
) -> Keys:
    """Check a deployment against its `meta` key; create it where there is none.

    Raises `ConfigError` where the server is too old or has no place for the layout, or where the
    deployment was created otherwise. `auto` takes the layout that the deployment was created with,
    and creates one with the layout that suits the server.
    """
    is_cluster = await _check_server(client)
    if is_cluster and layout == "single":
        raise ConfigError(
            "layout: configured is single, but the server is part of a Redis Cluster; "
            'set layout = "cluster" (or "auto")'
        )
    suited: Layout = "cluster" if is_cluster else "single"
    keys = await _check_meta(client, prefix, partitions, layout, suited)
    if is_cluster and keys.layout == "single":
        raise ConfigError(
            f"layout: {keys.meta} says that this deployment was created with single, which has no "
            "place on a Redis Cluster; choose another prefix, with layout cluster"
        )
    return keys


async def _check_server(client: Client) -> bool:
    """Refuse a server that is too old; tell whether it is part of a cluster."""
    info = await server_info(client)
    version = info["redis_version"]
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_SERVER:
        raise ConfigError(
            f"the server is Redis {version}; needed is Redis 7.0 or later, or any Valkey"
        )
    return info.get("cluster_enabled") == "1"


async def _check_meta(
    client: Client,
    prefix: str,
    partitions: int,
    layout: Layout | Literal["auto"],
    suited: Layout,
) -> Keys:
    key = Keys(prefix, "single").meta
    wanted = {"version": VERSION, "partitions": str(partitions)}
    if layout != "auto":
        wanted["layout"] = layout
    meta = await _read(client, key)
    _compare(key, wanted, meta)
    if not meta.keys() >= FIELDS:
        meta = await create(client, meta=key, fields={"layout": suited, **wanted})
        _compare(key, wanted, meta)  # somebody else may have been first
    return _keys(prefix, meta)


async def read_deployment(client: Client, prefix: str) -> tuple[Keys, int]:
    """Return the keys and the number of partitions of a deployment, without creating one.

    Raises `ConfigError` where there is none, or one that this release does not know.
    """
    key = Keys(prefix, "single").meta
    meta = await _read(client, key)
    if not meta.keys() >= FIELDS:
        raise ConfigError(
            f"no deployment with prefix {prefix}: start a worker first, or give another --prefix"
        )
    _compare(key, {"version": VERSION}, meta)
    if not re.fullmatch(r"[1-9]\d{0,3}", meta["partitions"]):
        raise ConfigError(f"partitions: {key} says {meta['partitions']}, which cannot be")
    return _keys(prefix, meta), int(meta["partitions"])


async def _read(client: Client, key: str) -> dict[str, str]:
    try:
        flat = await client.execute("HGETALL", key)
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise ConfigError(f"{key} is not the hash of a deployment: choose another prefix") from None
    return decoded_fields(flat)


def _keys(prefix: str, meta: dict[str, str]) -> Keys:
    if meta["layout"] == "cluster":
        return Keys(prefix, "cluster")
    if meta["layout"] == "single":
        return Keys(prefix, "single")
    key = Keys(prefix, "single").meta
    raise ConfigError(f"layout: {key} says {meta['layout']}, which this release does not know")


def _compare(key: str, wanted: dict[str, str], meta: dict[str, str]) -> None:
    """Refuse a deployment that was created with other values than the wanted ones."""
    for field, value in wanted.items():
        created = meta.get(field, value)
        if created == value:
            continue
        remedy = f"set {field} to {created}, or choose another prefix"
        if field == "version":
            remedy = "run a release that writes that version, or choose another prefix"
        raise ConfigError(
            f"{field}: configured is {value}, but {key} says that this deployment was created "
            f"with {created}: {remedy}"
        )


class Deployment(Struct, frozen=True, kw_only=True):
    """What everyone goes by (a stand-in until the rules stand in `status:meta`)."""

    keys: Keys
    partitions: int
    revision: int
    rules: Rules
    texts: Mapping[int, str]


def deployment_of(prefix: str, fields: Mapping[str, str]) -> Deployment:
    """Return the deployment that the fields of its hash tell of; raises `ConfigError`."""
    if not fields.keys() >= FIELDS:
        raise ConfigError(f"no deployment with prefix {prefix}: start a worker first")
    text = fields.get("rules")
    path = Path(__file__).parent / "config" / "rules.toml"
    path = path if path.exists() else Path(__file__).parents[2] / "config" / "rules.toml"
    return Deployment(
        keys=_keys(prefix, dict(fields)),
        partitions=int(fields["partitions"]),
        revision=int(fields.get("revision", 1)),
        rules=parse_rules(json.loads(text)) if text else load_rules(path),
        texts={},
    )
