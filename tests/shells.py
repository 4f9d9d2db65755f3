"""Both shells by the same tests: the one with await is run to the end of each call."""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import redis
import redis.asyncio
from status_tracker import AsyncEmitter, AsyncStatusReader, Emitter, StatusReader

SHELLS = ["plain", "awaited"]


class Awaited:
    """What has to be awaited, in a loop of its own."""

    def __init__(self, runner: asyncio.Runner, made: Any) -> None:
        self._runner = runner
        self._made = made

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._made, name)

        def call(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            if inspect.isasyncgen(result):
                return self._each(result)
            return self._runner.run(result) if inspect.iscoroutine(result) else result

        return call

    def _each(self, items: Any) -> Iterator[Any]:
        try:
            while True:
                yield self._runner.run(anext(items))
        finally:
            self._runner.run(items.aclose())


class Shell:
    """Makes emitters and readers of one kind, and closes them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._is_plain = name == "plain"
        self._runner = asyncio.Runner()
        self._made: list[Any] = []
        self._clients: list[Any] = []

    def reader(self, source: Any, **options: Any) -> Any:
        """Return a reader."""
        return self._kept((StatusReader, AsyncStatusReader), source, options)

    def emitter(self, source: Any, **options: Any) -> Any:
        """Return an emitter."""
        return self._kept((Emitter, AsyncEmitter), source, options)

    def client(self, url: str, **options: Any) -> Any:
        """Return a client of redis-py, as a user has it."""
        return (redis if self._is_plain else redis.asyncio).Redis.from_url(url, **options)

    def cluster(self, port: int, **options: Any) -> Any:
        """Return a cluster's client of redis-py."""
        kind: Any = redis.RedisCluster if self._is_plain else redis.asyncio.RedisCluster
        return kind(host="127.0.0.1", port=port, **options)

    def closed_at_the_end(self, *clients: Any) -> None:
        """Close clients of redis-py, too."""
        self._clients += clients

    def close(self) -> None:
        """Close all that was made."""
        for each in self._made:
            each.close()
        for client in self._clients:
            if self._is_plain:
                client.close()
            else:
                self._runner.run(client.aclose())
        self._runner.close()

    def _kept(self, kinds: tuple[Any, Any], source: Any, options: Any) -> Any:
        if self._is_plain:
            made = kinds[0](source, **options)
        else:
            made = Awaited(self._runner, kinds[1](source, **options))
        self._made.append(made)
        return made
