"""From what a producer says to the bytes of an entry, checked by the deployment's rules."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from status_tracker.decode import invalid_id
from status_tracker.errors import UpdateError
from status_tracker.keys import partition_of
from status_tracker.metadata import Deployment
from status_tracker.models import Rejection, Update
from status_tracker.text import escaped

_encode = msgspec.json.Encoder().encode

NAMES = {
    "progress": "progress",
    "error_message": "errorMessage",
    "attempt": "attempt",
    "restart": "restart",
    "force": "force",
    "updated_at": "updatedAt",
}
"""What may be said besides kind, id and phase → how it is called on the wire."""

_FLAGS = ("restart", "force")

_WIRE = {**NAMES, **{wire: wire for wire in NAMES.values()}}

SET_BACK = 30_000_000
"""Microseconds. Where the system's clock was set back by more than this, time begins again there: a
minute ahead, every update would be rejected as `future`."""


class Clock:
    """The time of updates: milliseconds with fractions, which grow with every update of a process.

    Two of the same time, of which the first is sent again after a lost connection, would read as a
    step back and forth, which may be counted as a retry.
    """

    def __init__(self, now: Callable[[], int] = time.time_ns) -> None:
        self._now = now
        self._last = 0
        self.unlock()

    def unlock(self) -> None:
        """Forget who held it: another thread may have, when the process was forked."""
        self._lock = threading.Lock()

    def now(self) -> int:
        """Return the time in milliseconds, however often it is asked for."""
        return self._now() // 1_000_000

    def __call__(self) -> float:
        """Return a time that is later than all before."""
        with self._lock:
            now = self._now() // 1000
            if now <= self._last and self._last - now < SET_BACK:
                now = self._last + 1
            self._last = now
        # Doubles of this size tell quarters of a microsecond apart.
        return now / 1000


process_clock: Clock = Clock()
"""That of this process."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process_clock.unlock)


def clock_of(options: Mapping[str, Any]) -> Clock:
    """Return the clock for updates, by the options of connections to the server.

    A server in memory, which only tests have, comes with a clock that they move.
    """
    own: Clock = options.get("clock", process_clock)
    return own


class Emission(Struct, frozen=True, gc=False):
    """An entry on its way."""

    partition: int
    data: bytes
    field: str = "data"
    """Its one field, whose value the data is."""


Document = dict[str, Any]
"""An update by the names of the wire."""


def fields_of(
    kind: str, entity_id: str, phase: str, *, clock: Clock = process_clock, **others: Any
) -> Document:
    """Return an update by the names of the wire; what is None or false is left out.

    It has the time at which it was said, however late it is sent.
    """
    fields: Document = {"kind": kind, "id": entity_id, "phase": phase}
    at = None
    for name, value in others.items():
        wire = _WIRE.get(name)
        if wire is None:
            raise UpdateError(f"{name}: no such field; there are {', '.join(NAMES)}", name)
        if wire == "updatedAt":
            at = value
        elif value is not None and not (value is False and wire in _FLAGS):
            fields[wire] = value
    fields["updatedAt"] = at or clock()
    return fields


def fields_from(update: Update | Mapping[str, Any], *, clock: Clock = process_clock) -> Document:
    """Return the same of a struct, or of what `Emitter.emit` takes, by name; the wire's will do."""
    if isinstance(update, Update):
        others = {name: getattr(update, name) for name in NAMES}
        kind = str(update.__struct_config__.tag)
        return fields_of(kind, update.id, update.phase, clock=clock, **others)
    others = dict(update)
    for name in others.keys() - _WIRE.keys() - {"kind", "id", "phase"}:
        raise UpdateError(f"{name}: no such field; there are {', '.join(NAMES)}", name)
    try:
        named = others.pop("kind"), others.pop("id"), others.pop("phase")
        return fields_of(*named, clock=clock, **others)
    except KeyError as error:
        raise UpdateError(f"{error.args[0]}: missing", error.args[0]) from None


class Checker:
    """Checks updates as the workers will: with their own decoder."""

    def __init__(self, deployment: Deployment) -> None:
        self._decode = deployment.decoder.decode
        self._kinds = deployment.rules.kinds
        self._partitions = deployment.partitions

    def check(self, fields: Document) -> Emission:
        """Return what is sent; raises `UpdateError`, which names the field."""
        progress = fields.get("progress")
        if progress is not None and progress != progress:  # noqa: PLR0124 - JSON has no NaN
            raise UpdateError("progress: NaN; must be a number from 0 to 1", "progress")
        try:
            data = _encode(fields)
        except UnicodeEncodeError as error:
            what = ascii(error.object)[:60]
            raise UpdateError(f"{what}: holds bytes that are no UTF-8 text") from None
        except TypeError as error:
            raise UpdateError(str(error)) from None
        emission = self.check_bytes(data)
        if "restart" in fields and self._kinds[fields["kind"]].max_retries is None:
            raise UpdateError(f"restart: {fields['kind']} counts no retries", "restart")
        return emission

    def check_bytes(self, data: bytes) -> Emission:
        """Return what is sent of an update that somebody wrote; raises `UpdateError`."""
        found = self._decode(data)
        if isinstance(found, Rejection):
            raise _refusal(found)
        refused = invalid_id(found.id)
        if refused is not None:
            raise _refusal(refused)
        return Emission(partition_of(found.id, self._partitions), data)


def _refusal(why: Rejection) -> UpdateError:
    field = why.detail.partition(":")[0] if why.reason == "invalid" else None
    return UpdateError(escaped(why.detail), field)


def numbered(error: UpdateError, number: int) -> UpdateError:
    """Say which of many updates is refused, counted from 1."""
    return UpdateError(f"update {number:,}: {error}", error.field)
