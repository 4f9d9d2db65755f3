"""What everyone who connects must agree on: the server, the number of partitions, the layout."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from worker.errors import ConfigError
from worker.keys import Keys, Layout

VERSION = "1"
"""Of the keys' names and contents."""

OLDEST_SERVER = (7, 0)
"""The first with `XGROUP SETID … ENTRIESREAD`, and that refuses a script whole when it is full."""


async def agree(
    client: Redis, prefix: str, partitions: int, layout: Layout | Literal["auto"]
) -> Keys:
    """Check a deployment against its `meta` key, which the first to connect writes.

    Raises `ConfigError` where the server is too old, or the deployment was created otherwise.
    """
    await _check_server(client)
    return await _check_meta(client, prefix, partitions, layout)


async def _check_server(client: Redis) -> None:
    info = await client.info("server")
    version = str(info["redis_version"])
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_SERVER:
        raise ConfigError(
            f"the server is Redis {version}; needed is Redis 7.0 or later, or any Valkey"
        )
    if info.get("redis_mode") == "cluster":
        raise ConfigError(
            "redis_url: the server is part of a Redis Cluster, which is not supported yet"
        )


async def _check_meta(
    client: Redis, prefix: str, partitions: int, layout: Layout | Literal["auto"]
) -> Keys:
    key = Keys(prefix, "single").meta
    wanted = {"version": VERSION, "partitions": str(partitions)}
    if layout != "auto":
        wanted["layout"] = layout
    try:
        meta = _text(await client.hgetall(key))
        _compare(key, wanted, meta)
        if not {"version", "partitions", "layout"} <= meta.keys():
            pipeline = client.pipeline(transaction=True)
            for field, value in {"layout": "single", **wanted}.items():
                pipeline.hsetnx(key, field, value)
            pipeline.hgetall(key)
            meta = _text((await pipeline.execute())[-1])
            _compare(key, wanted, meta)  # somebody else may have been first
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise ConfigError(f"{key} is not the hash of a deployment: choose another prefix") from None
    if meta["layout"] == "cluster":
        return Keys(prefix, "cluster")
    if meta["layout"] == "single":
        return Keys(prefix, "single")
    raise ConfigError(f"layout: {key} says {meta['layout']}, which this release does not know")


def _text(reply: Mapping[Any, Any]) -> dict[str, str]:
    return {
        field.decode(errors="replace"): value.decode(errors="replace")
        for field, value in reply.items()
    }


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
