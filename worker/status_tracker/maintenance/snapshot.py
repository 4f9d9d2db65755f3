"""The snapshot of a deployment as NDJSON: one document a line. Pure.

The first line says what was exported; then comes each partition, followed by its entities; the last
line says that the file is whole. What keys hold is text; bytes that are no UTF-8 are in base64.
"""

import zlib
from collections.abc import Iterator
from typing import IO, Any

import msgspec
from msgspec import Struct

from status_tracker.errors import InputError
from status_tracker.keys import Layout

VERSION = 1
"""Of the lines' form. A reader refuses another one."""


class Base64(Struct, frozen=True, gc=False):
    """Bytes that are no UTF-8."""

    base64: bytes


Text = str | Base64
"""What a key holds, to the byte."""


class Header(Struct, frozen=True, kw_only=True, tag="snapshot", tag_field="type"):
    """The first line: which deployment it was."""

    version: int
    snapshot: str
    """The name of this snapshot, which no other one has."""
    prefix: str
    partitions: int
    layout: Layout
    revision: int
    """Of the rules in force."""
    rules: dict[int, str]
    """Revision → its rules as JSON."""


class Part(Struct, frozen=True, kw_only=True, tag="partition", tag_field="type"):
    """A partition, whose entities are in the lines after it."""

    number: int
    entities: int
    """How many there are."""
    fields: dict[str, str]
    """Its hash: the cursor at which its entities were so, totals, epoch, revisions."""


class Entity(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag="entity", tag_field="type", gc=False
):
    """An entity, as its keys are."""

    kind: str
    id: str
    status: Text | None = None
    index: dict[str, str] = {}
    """Phase → its score in the phase's set, as the server writes it; there should be one."""
    history: list[Text] = []
    """Its last changes, the newest first."""


class End(Struct, frozen=True, kw_only=True, tag="end", tag_field="type"):
    """The last line."""

    snapshot: str
    entities: int
    """How many there are in all."""


Line = Header | Part | Entity | End

_encode = msgspec.json.Encoder().encode
_decode: Any = msgspec.json.Decoder(Line).decode


def text_of(raw: bytes) -> Text:
    """Return what a key holds, as it stands in a line."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return Base64(raw)


def bytes_of(text: Text) -> bytes:
    """Return what stands in a line, as a key holds it."""
    return text.encode() if isinstance(text, str) else text.base64


def line_of(document: Line) -> bytes:
    """Return a document as a line, without its end."""
    return _encode(document)


def entity_of(line: bytes) -> Entity:
    """Return the entity in a line that `line_of` made of it."""
    entity: Entity = _decode(line)
    return entity


class Snapshot:
    """A snapshot in a file that can be read more than once."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        """Read the first line; raises `InputError` where it is not that of a snapshot."""
        self._name = name
        self._file = file
        _, first = next(self._lines(), (1, None))
        if not isinstance(first, Header):
            raise InputError(f"{name}:1: this is not the first line of a snapshot")
        if first.version != VERSION:
            raise InputError(
                f"{name}:1: version: {first.version}, but this release reads {VERSION}: use the "
                "release that wrote it"
            )
        if first.revision not in first.rules:
            raise InputError(f"{name}:1: rules: those of revision {first.revision} are missing")
        self.header: Header = first
        self.parts: list[Part] = []
        """Its partitions, once it was checked."""

    def check(self) -> int:
        """Read it to its end; return how many entities it has.

        Raises `InputError` where a line is not of its form, or where lines are missing.
        """
        expected = list(range(self.header.partitions))
        found = self.parts = []
        entities = 0
        for _, line in self._lines():
            if isinstance(line, Entity):
                entities += 1
            elif isinstance(line, Part):
                found.append(line)
            elif isinstance(line, End):
                told = sum(part.entities for part in found), line.entities, line.snapshot
                numbers = [part.number for part in found]
                if told == (entities, entities, self.header.snapshot) and numbers == expected:
                    return entities
                break
        raise InputError(f"{self._name}: lines are missing: export it again")

    def entities(self) -> Iterator[tuple[int, Entity]]:
        """Yield each entity, with the number of its line."""
        return ((number, each) for number, each in self._lines() if isinstance(each, Entity))

    def _lines(self) -> Iterator[tuple[int, Line]]:
        number = 0
        try:
            self._file.seek(0)
            for number, line in enumerate(self._file, start=1):
                yield number, _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"{self._name}:{number}: {error}: export it again") from None
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self._name}: cannot be read after line {number}: {error}") from None
