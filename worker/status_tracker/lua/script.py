"""How a Lua script is sent."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from status_tracker.connection.client import Client, checked


class Call(NamedTuple):
    """KEYS and ARGV of one call; the keys must share a slot."""

    keys: Sequence[str | bytes]
    args: Sequence[str | bytes]


class Script:
    """A script, sent by its hash; and whole where the server does not know it (any more)."""

    def __init__(self, name: str, *, flags: str = "") -> None:
        folder = files("status_tracker.lua")
        # `#!lua` (7.0) makes the server refuse a script up front when its memory is full, unless
        # the flags say otherwise, instead of failing its first write after some.
        first = f"#!lua flags={flags}\n" if flags else "#!lua\n"
        parts = (folder.joinpath(part).read_text() for part in ("common.lua", f"{name}.lua"))
        self._text = first + "".join(parts)
        self._hash = sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Client, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        """Run it; the keys must share a slot."""
        rest = _words(Call(keys, args))
        try:
            return await client.execute("EVALSHA", self._hash, *rest)
        except NoScriptError:
            return await client.execute("EVAL", self._text, *rest)

    async def run_all(self, client: Client, calls: Sequence[Call]) -> list[Any]:
        """Run it for each of the calls, sent in one go: each is a step of the server of its own."""
        replies: dict[int, Any] = {}
        pending, first = list(range(len(calls))), ("EVALSHA", self._hash)
        while pending:
            commands = [
                (*(first if each == pending[0] else ("EVALSHA", self._hash)), *_words(calls[each]))
                for each in pending
            ]
            replies |= zip(pending, await client.execute_all(commands), strict=True)
            # Sent whole with the first of them, it is known for the others, if on the same node.
            pending = [each for each in pending if isinstance(replies[each], NoScriptError)]
            first = ("EVAL", self._text)
        return checked([replies[each] for each in range(len(calls))])


def _words(call: Call) -> tuple[str | bytes | int, ...]:
    return (len(call.keys), *call.keys, *call.args)
