"""Servers in this very process, by URL. Only the test kit has any (`testing/memory.py`)."""

from typing import NamedTuple

import redis
import redis.asyncio

SCHEME = "memory"


class Pools(NamedTuple):
    """What makes connections to a server."""

    asyncio: redis.asyncio.ConnectionPool
    blocking: redis.ConnectionPool


servers: dict[str, Pools] = {}
"""URL → pools."""
