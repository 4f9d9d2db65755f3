"""How a Lua script is sent."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from status_tracker.connection.client import Client


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
        rest = (len(keys), *keys, *args)
        try:
            return await client.execute("EVALSHA", self._hash, *rest)
        except NoScriptError:
            return await client.execute("EVAL", self._text, *rest)
