"""From the bytes of one stream entry to an update, or to the reason why it is none."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal, NamedTuple, Union

import msgspec
from msgspec import Struct

from status_tracker.lifecycle import Lifecycle
from status_tracker.models import Rejection, Update
from status_tracker.rules import Rules
from status_tracker.text import listed

FIELD = b"data"
"""The field of a stream entry that holds the update."""

REMOVE = b"remove"
"""The field of an entry that takes entities away, in place of `data`: `removal.py` reads it."""

FROM = b"from"
"""The field of a forwarded entry that says where it comes from: ``<partition>/<ID>``."""

Entry = tuple[bytes, Sequence[bytes]]
"""An entry as the server sends it: its ID, and ``[field, value, field, value, …]``."""

_id_matches = re.compile(r"^[^\s\x00-\x1f\x7f-\x9f{}]{1,256}\Z").match

_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError)
# Reads all of it, and builds nothing: what a producer may send must not take long to judge.
_check_json = msgspec.json.Decoder(msgspec.Raw).decode

DEEPEST = 400
"""Levels of brackets that are read. Python ends deeper ones according to how deep the caller is in
its own stack, and a replay must find what was found before."""
_TOO_DEEP = Rejection("malformed", f"nested more than {DEEPEST} levels deep: send less")
# Data without all but its brackets, as steps: one level down is 1, one up is -1.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_AT_ONCE = 256
"""Steps that are counted in one go. Only where they may lead too deep, each is looked at."""

NAMES_SHOWN = 5
"""Names of fields that are told of an entry without `data`."""


class Removing(Struct, frozen=True, gc=False):
    """The value of an entry that takes entities away."""

    data: bytes


Value = bytes | Removing | Rejection
"""What an entry has: an update's bytes, those of a removal, or nothing that is read."""


class _Fields(Struct, rename="camel"):
    """The fields of a JSON object that an update may have, as they stand in it."""

    kind: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    phase: msgspec.Raw = msgspec.Raw()
    updated_at: msgspec.Raw = msgspec.Raw()
    progress: msgspec.Raw = msgspec.Raw()
    error_message: msgspec.Raw = msgspec.Raw()
    restart: msgspec.Raw = msgspec.Raw()
    attempt: msgspec.Raw = msgspec.Raw()
    force: msgspec.Raw = msgspec.Raw()


_decode_fields = msgspec.json.Decoder(_Fields).decode

_ATTRIBUTES = {field.encode_name: field.name for field in msgspec.structs.fields(_Fields)}

_ID = "must be text of 1 to 256 characters, without whitespace, control characters and braces"
_EXPECTED = {
    "id": _ID,
    "phase": "must be one of the kind's phases",
    "updatedAt": "must be milliseconds since the epoch, from 1e11 (seconds are refused) to 2^53",
    "progress": "must be a number from 0 to 1",
    "errorMessage": "must be text",
    "restart": "must be true or false",
    "attempt": "must be a whole number from 1 to 2^53",
    "force": "must be true or false",
}
"""What may stand in each field."""


_NAMED = re.compile(r"missing required field `(\w+)`|at `\$\.(\w+)`\Z")
"""Where msgspec says which field does not fit."""


class Values(NamedTuple):
    """What the entries of a read have."""

    values: Sequence[Value]
    size: int
    """Bytes in all their fields."""
    removes: bool
    """Whether any of them takes entities away."""


def find_all(entries: Sequence[Entry]) -> Values:
    """Return the values of entries."""
    alone = [fields[1] for _, fields in entries if len(fields) == 2 and fields[0] == FIELD]
    if len(alone) == len(entries):
        return Values(alone, sum(map(len, alone)), removes=False)
    values = [find_data(fields) for _, fields in entries]
    removes = any(isinstance(value, Removing) for value in values)
    return Values(values, sum(map(size_of, entries)), removes)


def size_of(entry: Entry) -> int:
    """Return how many bytes there are in an entry's fields."""
    return sum(map(len, entry[1]))


def find_data(fields: Sequence[bytes]) -> Value:
    """Return the value of `data`, or else of `remove`, in ``[field, value, field, value, …]``."""
    names = fields[::2]
    if FIELD in names:
        return fields[2 * names.index(FIELD) + 1]
    if REMOVE in names:
        return Removing(fields[2 * names.index(REMOVE) + 1])
    found = ", ".join(name[:40].decode(errors="replace") for name in names[:NAMES_SHOWN])
    more = " and more" if len(names) > NAMES_SHOWN else ""
    return Rejection("malformed", f"no field `data`; found: {found}{more}")


class _NoKind(Struct, tag="-", tag_field="kind"):
    """Of a kind that there is never: with it, `kind` is required also where there is only one."""

    kind_is_unknown: Annotated[str, msgspec.Meta(min_length=1, max_length=0)]


class Decoder:
    """Decodes the updates of the kinds that there are."""

    def __init__(self, rules: Rules) -> None:
        self.updates: dict[str, type[Update]] = {
            kind: _update_struct(kind, life) for kind, life in rules.kinds.items()
        }
        """The struct that the updates of each kind become."""
        self.kinds: dict[type[Update], str] = {
            struct: kind for kind, struct in self.updates.items()
        }
        """The kind of each struct."""
        self._lifecycles = rules.kinds
        self._max_event_bytes = rules.max_event_bytes
        # So many bytes are neither too long nor nested too deep.
        self._short = min(rules.max_event_bytes, 2 * DEEPEST)
        union: Any = Union[(*self.updates.values(), _NoKind)]
        self._decode: Callable[[bytes], Update] = msgspec.json.Decoder(union).decode

    def decode_all(self, values: Sequence[bytes | Rejection]) -> list[Update | Rejection]:
        """Decode the values of many entries as `decode` does each, in half the time if all is well.

        What is rejected already stays as it is.
        """
        try:
            # In one piece: what JSON ends with is ASCII, so no character spans two that decode.
            b"".join(values).decode()  # type: ignore[arg-type]
            if max(map(len, values)) <= self._short:  # type: ignore[arg-type]
                return list(map(self._decode, values))  # type: ignore[arg-type]
        except (TypeError, *_NOT_JSON):  # a `TypeError` for what is no bytes
            pass
        return [value if isinstance(value, Rejection) else self.decode(value) for value in values]

    def decode(self, data: bytes) -> Update | Rejection:
        """Decode an update, all but the characters of its id: see `invalid_id`.

        The answer for given bytes and rules is always the same, no bytes raise, and none take much
        longer than an update of their length.
        """
        if len(data) > self._max_event_bytes:
            # Without its length: it may have been cut before it came here.
            most = self._max_event_bytes
            return Rejection("oversized", f"over max_event_bytes ({most}): send less")
        try:
            if not data.isascii():
                data.decode()  # msgspec does not look into the fields that it skips
            return _TOO_DEEP if _is_too_deep(data) else self._decode(data)
        except msgspec.ValidationError as error:
            # It stops at the first field that does not fit: what follows may not even be JSON.
            return _malformed(data) or self._invalid(data, str(error))
        except _NOT_JSON as error:
            return _not_json(error)
        except RecursionError:
            return _TOO_DEEP

    def _invalid(self, data: bytes, error: str) -> Rejection:
        """Say which field does not fit, what stands there and what may.

        msgspec names the first one.
        """
        try:
            fields = _decode_fields(data)
        except msgspec.ValidationError:
            return Rejection("invalid", "not a JSON object")
        named = _NAMED.search(error)
        name = named[1] or named[2] if named else ""
        if name not in _EXPECTED:
            kinds = listed(self._lifecycles)
            return Rejection("invalid", f"kind: {_found(fields, 'kind')}; must be {kinds}")
        return Rejection("invalid", f"{name}: {_found(fields, name)}; {self._may(fields, name)}")

    def _may(self, fields: _Fields, name: str) -> str:
        """Return what may stand in a field."""
        kind = bytes(fields.kind).decode().strip('"')
        if name == "phase" and kind in self._lifecycles:
            return f"must be {listed(self._lifecycles[kind].phases)}"
        return _EXPECTED[name]


def _update_struct(kind: str, lifecycle: Lifecycle) -> type[Update]:
    """Return the struct of a kind's updates: with its phases, so that others are refused in C."""
    phases: Any = Literal[lifecycle.phases]
    fields: list[Any] = [("phase", phases)]
    if lifecycle.max_retries is not None:
        fields.append(("restart", bool, False))
    made: Any = msgspec.defstruct(
        f"{kind.title()}Update",
        fields,
        bases=(Update,),
        tag=kind,
        kw_only=True,
        frozen=True,
        gc=False,
    )
    struct: type[Update] = made
    return struct


def _not_json(error: Exception) -> Rejection:
    return Rejection("malformed", f"not JSON: {error}")


def _malformed(data: bytes) -> Rejection | None:
    try:
        _check_json(data)
    except msgspec.DecodeError as error:
        return _not_json(error)
    return None


def _found(fields: _Fields, name: str) -> str:
    """Return what stands in a field, shortened."""
    value = bytes(getattr(fields, _ATTRIBUTES[name])).decode()
    return f"{value[:60]}{'…' if len(value) > 60 else ''}" or "missing"


def invalid_id(entity_id: str) -> Rejection | None:
    """Say what is wrong with an id, or None.

    It is apart from `decode` because a pattern in the struct costs more than the rest of the
    decoding: an id whose status is known was checked before, so only new ids come here.
    """
    if _id_matches(entity_id):
        return None
    return Rejection("invalid", f"id: {entity_id[:60]!r}; {_ID}")


def _is_too_deep(data: bytes) -> bool:
    """Tell whether brackets are nested too deep; raises `DecodeError` for what is no JSON."""
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return False
    _check_json(data)
    # In JSON, a backslash stands in strings only, and with every second quote a string is over.
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    outside = b"".join(plain.split(b'"')[::2])
    steps = outside.translate(_STEPS, _NO_BRACKETS)
    depth = 0
    for begin in range(0, len(steps), _AT_ONCE):
        some = steps[begin : begin + _AT_ONCE]
        opened = some.count(1)
        if depth + opened > DEEPEST and max(_depths(some, depth)) > DEEPEST:
            return True
        depth += 2 * opened - len(some)
    return False


def _depths(steps: bytes, depth: int) -> Iterator[int]:
    """Yield the depth before and after each step, from the given one on."""
    return accumulate(memoryview(steps).cast("b"), initial=depth)
