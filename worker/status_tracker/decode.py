"""From the bytes of one stream entry to an update, or to the reason why it is none."""

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from status_tracker.models import Rejection, Update

FIELD = b"data"
"""The field of a stream entry that holds the update."""

Entry = tuple[bytes, Sequence[bytes]]
"""An entry as the server sends it: its ID, and ``[field, value, field, value, …]``."""

ID_PATTERN = r"^[^\s\x00-\x1f\x7f-\x9f{}]+\Z"
_id_matches = re.compile(ID_PATTERN).match

_decode_update: Callable[[bytes], Update] = msgspec.json.Decoder(Update).decode
_decode_anything = msgspec.json.Decoder().decode
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError)

DEEPEST = 400
"""Levels of brackets that are read. Python ends deeper ones according to how deep the caller is in
its own stack, and a replay must find what was found before."""
# The last quote is optional: else a string without one is tried again from each quote inside it.
_strings = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)


def find_all(entries: Sequence[Entry]) -> tuple[Sequence[bytes | Rejection], int]:
    """Return each entry's value of `data`, and how many bytes there are in all their fields."""
    alone = [fields[1] for _, fields in entries if len(fields) == 2 and fields[0] == FIELD]
    if len(alone) == len(entries):
        return alone, sum(map(len, alone))
    return [find_data(fields) for _, fields in entries], sum(map(size_of, entries))


def size_of(entry: Entry) -> int:
    """Return how many bytes there are in an entry's fields."""
    return sum(map(len, entry[1]))


def find_data(fields: Sequence[bytes]) -> bytes | Rejection:
    """Return the value of `data` among an entry's ``[field, value, field, value, …]``."""
    names = fields[::2]
    if FIELD in names:
        return fields[2 * names.index(FIELD) + 1]
    found = ", ".join(name[:40].decode(errors="replace") for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return Rejection("malformed", f"no field `data`; found: {found}{more}")


def decode_all(
    values: Sequence[bytes | Rejection], max_event_bytes: int
) -> list[Update | Rejection]:
    """Decode the values of many entries as `decode` does each, in half the time where all is well.

    What is rejected already stays as it is.
    """
    with suppress(TypeError, *_NOT_JSON):  # a `TypeError` for what is no bytes
        # In one piece: what JSON ends with is ASCII, so no character spans two values that decode.
        b"".join(values).decode()  # type: ignore[arg-type]
        if max(map(len, values)) <= min(max_event_bytes, 2 * DEEPEST):  # type: ignore[arg-type]
            return list(map(_decode_update, values))  # type: ignore[arg-type]
    return [
        value if isinstance(value, Rejection) else decode(value, max_event_bytes)
        for value in values
    ]


def decode(data: bytes, max_event_bytes: int) -> Update | Rejection:
    """Decode an update, all but the characters of its id: see `invalid_id`.

    The answer for given bytes and limit is always the same, and no bytes raise.
    """
    if len(data) > max_event_bytes:
        return Rejection(
            "oversized", f"{len(data)} bytes, over max_event_bytes ({max_event_bytes}): send less"
        )
    if len(data) > 2 * DEEPEST and _depth(data) > DEEPEST:
        return Rejection("malformed", f"nested more than {DEEPEST} levels deep: send less")
    try:
        if not data.isascii():
            data.decode()  # msgspec does not look into the fields that it skips
        return _decode_update(data)
    except msgspec.ValidationError as error:
        # msgspec stops at the first field that does not fit, so what follows may not even be JSON.
        return _malformed(data) or Rejection("invalid", _shortened(str(error)))
    except _NOT_JSON as error:
        return Rejection("malformed", f"not JSON: {error}")


def invalid_id(entity_id: str) -> Rejection | None:
    """Say what is wrong with the characters of an id, or None.

    It is apart from `decode` because a pattern in the struct costs more than the rest of the
    decoding: an id whose status is known was checked before, so only new ids come here.
    """
    if _id_matches(entity_id):
        return None
    return Rejection("invalid", f"Expected `str` matching regex {ID_PATTERN!r} - at `$.id`")


def _shortened(message: str) -> str:
    """Cut the middle out of a message that repeats a long value; its end has the path."""
    return message if len(message) <= 300 else f"{message[:200]}…{message[-80:]}"


def _malformed(data: bytes) -> Rejection | None:
    """Say why the bytes are not JSON at all, or None where they are."""
    try:
        try:
            _decode_anything(data)
        except msgspec.ValidationError:
            # msgspec stops at a number that no double can hold, so this looks at all the rest.
            json.loads(data, parse_int=str, parse_float=str, parse_constant=_no_constant)
    except ValueError as error:
        return Rejection("malformed", f"not JSON: {error}")
    return None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _depth(data: bytes) -> int:
    """Return how many levels of brackets there are outside of strings, at least roughly."""
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return 0
    depth = deepest = 0
    for byte in _strings.sub(b"", data):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
