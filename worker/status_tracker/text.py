"""Text that others wrote, as people may see it."""

from collections.abc import Iterable, Sequence


def decoded(raw: bytes) -> str:
    r"""Return bytes as text, those that are none as ``\xff``: other bytes stay other text."""
    return raw.decode(errors="backslashreplace")


def decoded_fields(flat: Sequence[bytes]) -> dict[str, str]:
    """Return a hash as a server sends it, ``[field, value, …]``, as text."""
    texts = [decoded(each) for each in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def escaped(text: str) -> str:
    r"""Return text in one line, with what cannot be seen as ``\x1b``, ``\n``, ``\u202e``, ….

    A terminal obeys such characters: it moves, recolours, reverses or hides what is around them.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def escaped_lines(text: str) -> str:
    """Return lines without what a terminal would obey."""
    return "\n".join(map(escaped, text.split("\n")))


def shortened(text: str, most: int = 80) -> str:
    """Return the beginning of a text that is longer than so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(names: Iterable[str]) -> str:
    """Return names as a choice: ``a, b or c``; nothing where there are none."""
    *others, last = [*names] or [""]
    return f"{', '.join(others)} or {last}" if others else last


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
