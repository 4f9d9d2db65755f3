"""A server in memory: fakeredis, with what the tracker needs of a server and it does not have.

Each command passes on its way there, as bytes, so that nothing leans on how fakeredis is made.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import hiredis
import msgspec
import redis
import redis.asyncio
from fakeredis import FakeAsyncRedisConnection, FakeRedisConnection, FakeServer

from status_tracker.connection.memory import SCHEME, Pools, servers
from status_tracker.testing.clock import ServerClock

VERSION = (7, 4)
"""The server that it plays."""

_INFO = b"redis_version:%d.%d.0\r\ncluster_enabled:0\r\n" % VERSION

# It has no msgpack, but JSON; and the errors of its `pcall` are Python's strings, which `find` is
# no method of.
_ITS_OWN = (
    b"local cmsgpack = {unpack = cjson.decode} "
    b"local redis = setmetatable({pcall = function(...) "
    b"local reply = redis.pcall(...) "
    b"if type(reply) == 'table' and reply.err then reply.err = tostring(reply.err) end "
    b"return reply end}, {__index = redis})"
)

# Before a script where the clock was moved on: the time is its last argument. An ID by the clock is
# of that time; where the stream is further ahead, it comes after the last one, as on any server.
_AT_ITS_TIME = b"""
local now = table.remove(ARGV)
local lengths = {
  NOMKSTREAM = 1, KEEPREF = 1, DELREF = 1, ACKED = 1, MAXLEN = 2, MINID = 2, LIMIT = 2,
}
local function timed(run, command, ...)
  local name, args, place = command:upper(), {...}, 2
  if name == 'TIME' then return {now:sub(1, -4), now:sub(-3) .. '000'} end
  if name == 'XADD' then
    local length = lengths[tostring(args[place]):upper()]
    while length do
      local sign = args[place + 1]
      place = place + length + ((sign == '=' or sign == '~') and 1 or 0)
      length = lengths[tostring(args[place]):upper()]
    end
    if args[place] == '*' then
      args[place] = now .. '-*'
      local id = redis.pcall('XADD', unpack(args))
      if type(id) ~= 'table' then return id end
    end
  end
  return run(command, ...)
end
local redis = setmetatable({
  call = function(...) return timed(redis.call, ...) end,
  pcall = function(...) return timed(redis.pcall, ...) end,
}, {__index = redis})
""".replace(b"\n", b" ")

_unpacked = re.compile(rb"cmsgpack\.unpack\(ARGV\[(\d+)\]\)").findall

_numbers = count(1)


@contextmanager
def memory_server() -> Iterator[str]:
    """Yield the URL of a new, empty server, which is there as long as the block lasts."""
    url = f"{SCHEME}://{next(_numbers)}"
    own: dict[str, Any] = {
        "server": FakeServer(version=VERSION),
        "clock": ServerClock(),
        "protocol": 2,
    }
    servers[url] = Pools(
        asyncio=redis.asyncio.ConnectionPool(connection_class=_AsyncConnection, **own),
        blocking=redis.ConnectionPool(connection_class=_Connection, **own),
    )
    try:
        yield url
    finally:
        del servers[url]


class _Connection(FakeRedisConnection):
    """For blocking clients."""

    def __init__(self, *, clock: ServerClock, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        known = _as_it_knows(command, self._clock)
        super().send_packed_command(known, check_health)  # type: ignore[no-untyped-call]

    def disconnect(self, *args: Any) -> None:
        # It says so of a connection in which another thread waits; that ends with its BLOCK.
        with suppress(ValueError):
            super().disconnect(*args)  # type: ignore[no-untyped-call]


class _AsyncConnection(FakeAsyncRedisConnection):
    """For asyncio."""

    def __init__(self, *, clock: ServerClock, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        await super().send_packed_command(_as_it_knows(command, self._clock), check_health)

    async def can_read_destructive(self) -> bool:  # what redis-py before 8.0 calls it
        return await self.can_read()


def _as_it_knows(packed: bytes | Iterable[bytes], clock: ServerClock) -> list[bytes]:
    """Return commands as they go over the wire, with those that fakeredis lacks in other words."""
    reader = hiredis.Reader()
    reader.feed(packed if isinstance(packed, bytes) else b"".join(packed))
    commands = iter(reader.gets, False)
    now = b"%d" % clock.now() if clock.ahead else None
    return [_packed(_translated(command, now)) for command in commands]


def _packed(command: list[bytes]) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]
    return packed


def _translated(command: list[bytes], now: bytes | None) -> list[bytes]:
    """Return a command in words that it knows; at its own time, unless there is another one."""
    name = command[0].upper()
    if name == b"INFO":
        return [b"ECHO", _INFO]
    if name in (b"TIME", b"XADD") and now is not None:
        call = b"return redis.call('%b', unpack(ARGV))" % name
        return [b"EVAL", _AT_ITS_TIME + call, b"0", *command[1:], now]
    if name != b"EVAL" or not command[1].startswith(b"#!lua"):
        return command
    # As its hash is another one now, EVALSHA never finds it, and whoever sends it sends it whole.
    _, text, keys, *rest = command
    for place in map(int, _unpacked(text)):
        argument = int(keys) + place - 1
        rest[argument] = msgspec.json.encode(msgspec.msgpack.decode(rest[argument]))
    # In the place of the first line, so that errors name the right ones.
    _, newline, body = text.partition(b"\n")
    if now is None:
        return [b"EVAL", _ITS_OWN + newline + body, keys, *rest]
    return [b"EVAL", _ITS_OWN + _AT_ITS_TIME + newline + body, keys, *rest, now]
