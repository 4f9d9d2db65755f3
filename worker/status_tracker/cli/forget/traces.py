"""Which entries tell of some entities, and which ids stand in bytes that are no update. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from status_tracker.decode import FIELD, REMOVE
from status_tracker.keys import Keys

Fields = Mapping[bytes, bytes]

# What may be a whole JSON string: from any quote to the next one, for in bytes that are no JSON
# nobody knows which of them open a string. An id has up to 256 characters, of 12 bytes each.
_quoted = re.compile(rb'(?<!\\)(?="((?:[^"\\]|\\.){1,3072})")', re.DOTALL).finditer


class _Named(Struct):
    """Of whom a document is."""

    kind: Any = None
    id: Any = None


_decode = msgspec.json.Decoder(_Named | list[Any] | str).decode
_decode_text = msgspec.json.Decoder(str).decode
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Traces:
    """Finds entries that tell of some entities of one kind."""

    def __init__(self, kind: str, ids: Iterable[str], keys: Keys) -> None:
        self._kind = kind
        self._ids = frozenset(ids)
        tag = r":\{\d+\}" if keys.layout == "cluster" else ""
        key = rf"{re.escape(keys.prefix)}:{re.escape(kind)}{tag}:(\S+)"
        self._in_keys = re.compile(key.encode()).finditer

    def in_change(self, fields: Fields) -> bool:
        """Tell whether an entry of the change feed is of one of them, or of several with one."""
        return any(map(self._in_value, fields.values()))

    def in_rejected(self, fields: Fields) -> bool:
        """Tell whether a rejected entry is of one of them, as far as its data can be read."""
        data, detail = fields.get(b"data", b""), fields.get(b"detail", b"")
        named = self._named(data)
        if named is not None:
            return named
        found = self._in_keys(detail)
        return self._is_quoted(data) or self._is_quoted(detail) or any(map(self._has, found))

    def in_update(self, fields: Fields) -> bool:
        """Tell whether an entry of a stream of updates is of one of them.

        One that has neither `data` nor `remove` may have the id in a field.
        """
        for name in (FIELD, REMOVE):
            if name in fields:
                return self._in_value(fields[name])
        values = fields.values()
        return any(map(self._is_id, values)) or any(map(self._is_quoted, values))

    def _in_value(self, value: bytes) -> bool:
        named = self._named(value)
        return self._is_quoted(value) if named is None else named

    def _named(self, value: bytes) -> bool | None:
        """Tell whether JSON names one of them; None where it names nobody."""
        try:
            found = _decode(value)
        except _UNREADABLE:
            return None
        if isinstance(found, str):  # JSON in JSON is a usual mistake
            return self._named(found.encode())
        named = [(found.kind, found.id)] if isinstance(found, _Named) else _pairs(found)
        if not named or not all(isinstance(text, str) for pair in named for text in pair):
            return None
        return any(kind == self._kind and each in self._ids for kind, each in named)

    def _is_quoted(self, value: bytes) -> bool:
        for found in _quoted(value):
            try:
                if _decode_text(b'"%b"' % found[1]) in self._ids:
                    return True
            except _UNREADABLE:
                continue
        return False

    def _has(self, found: re.Match[bytes]) -> bool:
        return self._is_id(found[1])

    def _is_id(self, value: bytes) -> bool:
        try:
            return value.decode() in self._ids
        except UnicodeDecodeError:
            return False


def _pairs(removed: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return kinds and ids of what is removed; nothing where a list is something else."""
    if all(isinstance(each, list) and len(each) >= 2 for each in removed):
        return [(each[0], each[1]) for each in removed]
    return []
