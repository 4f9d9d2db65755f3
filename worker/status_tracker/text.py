"""Text that others wrote, as people may see it."""


def decoded(raw: bytes) -> str:
    r"""Return bytes as text, those that are none as ``\xff``: other bytes stay other text."""
    return raw.decode(errors="backslashreplace")


def escaped(text: str) -> str:
    r"""Return text in one line, with what cannot be seen as ``\x1b``, ``\n``, ``\u202e``, ….

    A terminal obeys such characters: it moves, recolours, reverses or hides what is around them.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def shortened(text: str, most: int = 80) -> str:
    """Return the beginning of a text that is longer than so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
