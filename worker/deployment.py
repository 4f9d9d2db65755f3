"""What everyone who connects must agree on: the server, the number of partitions, the layout."""

import re
from typing import Literal, cast

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ResponseError

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

    Raises `ConfigError` where the server is too old, does not let us in, or the deployment was
    created with other values.
    """
    try:
        await _check_server(client)
        return await _check_meta(client, prefix, partitions, layout)
    except AuthenticationError as error:
        raise ConfigError(f"redis_url: the server refuses the user or password: {error}") from None


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
    try:
        found = cast("dict[bytes, bytes]", await client.hgetall(key))
        if not {b"version", b"partitions", b"layout"} <= found.keys():
            created = {
                "version": VERSION,
                "partitions": str(partitions),
                "layout": "single" if layout == "auto" else layout,
            }
            pipeline = client.pipeline(transaction=True)
            for field, value in created.items():
                pipeline.hsetnx(key, field, value)
            pipeline.hgetall(key)
            found = (await pipeline.execute())[-1]
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise ConfigError(f"{key} is not the hash of a deployment: choose another prefix") from None
    meta = {field.decode(): value.decode() for field, value in found.items()}
    wanted = {"version": VERSION, "partitions": str(partitions)}
    if layout != "auto":
        wanted["layout"] = layout
    for field, value in wanted.items():
        if meta[field] != value:
            raise ConfigError(
                f"{field}: configured is {value}, but {key} says that this deployment was created "
                f"with {meta[field]}: set {field} to {meta[field]}, or choose another prefix"
            )
    return Keys(prefix, "cluster" if meta["layout"] == "cluster" else "single")
