"""The bytes of an entry, as people can read them: whatever somebody sent."""

import msgspec
from msgspec import Struct

from status_tracker.text import decoded, escaped_lines

MOST_DUMPED = 4_096
"""Bytes that are shown as numbers."""

MOST_INDENTED = 4_000_000
"""Characters that line breaks and indents may add. Of what is nested deep, they would be many."""

_IN_A_ROW = 16


class Contents(Struct, frozen=True):
    """What is shown."""

    form: str
    """What they are."""
    text: str
    dump: str
    """In hexadecimal; "" where it is text."""
    is_cut: bool
    """Whether the dump has only the beginning."""


def contents(data: bytes) -> Contents:
    """Return bytes as they are shown."""
    text = _json(data)
    if text is not None:
        return Contents("JSON", escaped_lines(text), "", False)
    text = decoded(data)
    is_text = text.encode() == data and all(each.isprintable() or each in "\n\r\t" for each in text)
    form = "text but no JSON" if is_text else "no text"
    dump = "" if is_text else _dump(data[:MOST_DUMPED])
    return Contents(form, escaped_lines(text), dump, bool(dump) and len(data) > MOST_DUMPED)


def _json(data: bytes) -> str | None:
    """Return JSON in lines; None where it is none, or would be too long in lines."""
    depth = data.count(b"[") + data.count(b"{")
    if 2 * depth * (data.count(b",") + 2 * depth) > MOST_INDENTED:
        return None
    try:
        msgspec.json.decode(data)
        return msgspec.json.format(data, indent=2).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _dump(data: bytes) -> str:
    rows = range(0, len(data), _IN_A_ROW)
    return "\n".join(_row(place, data[place : place + _IN_A_ROW]) for place in rows)


def _row(place: int, some: bytes) -> str:
    seen = "".join(chr(each) if 32 <= each < 127 else "." for each in some)
    return f"{place:06x}  {some.hex(' '):<{3 * _IN_A_ROW - 1}}  {seen}"
