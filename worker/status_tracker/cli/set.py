"""`status-tracker set`: an update by hand, through the stream, and what became of it."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct
from redis.exceptions import ResponseError

from status_tracker.connection.client import UNAVAILABLE, UNREACHABLE, Client
from status_tracker.connection.url import reach, without_secrets
from status_tracker.decode import Decoder, invalid_id
from status_tracker.errors import UnavailableError
from status_tracker.keys import partition_of
from status_tracker.metadata import Deployment, read_deployment
from status_tracker.models import LARGEST, Progress, Rejection, Status
from status_tracker.rules import Rules
from status_tracker.settings import Settings, load_settings
from status_tracker.text import decoded, escaped, shortened
from status_tracker.units import duration

LOOK_EVERY = 0.02
"""Seconds between two looks at the partition's cursor."""

PAGE = 100
"""Rejected entries that are read at once: each may be as large as an update."""

_entry_id = re.compile(rb"(\d+)-(\d+)").fullmatch


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of an update that was read."""

    before: bytes | None
    """What the status key held before; None where it held nothing."""
    after: bytes | None
    rejected: str | None
    """Reason and detail where it was rejected."""


class _Seen(Struct, frozen=True):
    """What one look at the keys of the entity and its partition found."""

    status: bytes | None
    duplicates: bytes | None
    last_rejected: bytes
    """The ID of the newest entry of the rejected stream."""


def set_status(
    config: Path | None, options: Mapping[str, str | None], given: Mapping[str, Any], timeout: str
) -> int:
    """Add an update, wait until it was read, and say what became of it; return the exit code.

    Raises `click.UsageError` before anything is written where the deployment's rules have no such
    update, and `UnavailableError` where no worker reads it in time.
    """
    settings = load_settings(config, options=options)
    try:
        within = duration(timeout)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timeout") from None
    outcome = asyncio.run(_set(settings, given, within))
    for line in lines(outcome):
        click.echo(escaped(line))
    return int(outcome.rejected is not None)


def checked_update(given: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """Return an update without its time; raises `click.UsageError` for one that the rules refuse.

    The decoder of the workers judges it, so both say the same.
    """
    fields = {
        "kind": given["kind"],
        "id": given["entity_id"],
        "phase": given["phase"],
        "progress": _progress(given["progress"]),
        "errorMessage": given["error"],
        "attempt": given["attempt"],
        "restart": given["restart"] or None,
        "force": given["force"] or None,
    }
    update = {name: value for name, value in fields.items() if value is not None}
    try:
        # The longest time there is: a shorter one makes no update too large.
        data = _document(update, LARGEST)
    except UnicodeEncodeError as error:
        what = shortened(ascii(error.object))
        raise click.UsageError(
            f"{what}: holds bytes that are no UTF-8 text; write others"
        ) from None
    why = Decoder(rules).decode(data)
    if not isinstance(why, Rejection):
        why = invalid_id(update["id"])  # type: ignore[assignment]
    if isinstance(why, Rejection):
        raise click.UsageError(escaped(why.detail))
    if given["restart"] and rules.kinds[update["kind"]].max_retries is None:
        raise click.UsageError(f"--restart: {update['kind']} counts no retries; leave it out")
    return update


def _progress(text: str | None) -> int | float | None:
    """Read a number as JSON has it: it is published as it was written, 1 or 1.0."""
    if text is None:
        return None
    try:
        progress: int | float = msgspec.json.decode(text, type=Progress)
    except (msgspec.DecodeError, ValueError):
        what = escaped(shortened(ascii(text)))
        raise click.BadParameter(
            f"{what}: write a number from 0 to 1, such as 0.5", param_hint="--progress"
        ) from None
    return progress


def _document(update: Mapping[str, Any], at: int | float) -> bytes:
    return msgspec.json.encode({**update, "updatedAt": at})


async def _set(settings: Settings, given: Mapping[str, Any], within: int) -> Outcome:
    hint = ""
    try:
        client = await reach(settings.redis_url)
        try:
            deployment = await read_deployment(client, settings.prefix)
            by_hand = _ByHand(client, deployment, checked_update(given, deployment.rules))
            before = await by_hand.look()
            hint = f"; the update may be in {by_hand.stream}: look before you send it again"
            entry_id = await by_hand.add(before)
            await by_hand.wait(entry_id, within)
            return await by_hand.outcome(entry_id, before)
        finally:
            await client.close()
    except UNAVAILABLE as error:
        if not isinstance(error, UNREACHABLE):
            hint = ""  # the server says no
        raise UnavailableError(f"{without_secrets(settings.redis_url)}: {error}{hint}") from None


class _ByHand:
    """An update on its way through its partition's stream."""

    def __init__(self, client: Client, deployment: Deployment, update: Mapping[str, Any]) -> None:
        self._client = client
        self._update = update
        self._number = partition_of(update["id"], deployment.partitions)
        self._own = deployment.keys.partition(self._number)
        self._lease = deployment.keys.lease(self._number)
        self._status = self._own.status(update["kind"], update["id"])
        self.stream = self._own.events

    async def look(self) -> _Seen:
        """Look at the keys, whatever is there."""
        # MGET has no value for a key of another type, which the worker will reject.
        [status] = await self._ask("MGET", self._status)
        duplicates = await self._ask("HGET", self._own.partition, "duplicates")
        rejected = await self._ask("XREVRANGE", self._own.rejected, "+", "-", "COUNT", 1)
        return _Seen(status, duplicates, rejected[0][0] if rejected else b"0-0")

    async def add(self, before: _Seen) -> bytes:
        """Add the update to the stream, at the later of the server's time and the status's."""
        seconds, microseconds = await self._client.execute("TIME")
        now = 1000 * int(seconds) + int(microseconds) // 1000
        data = _document(self._update, max(now, _updated_at(before.status)))
        entry_id: bytes = await self._ask("XADD", self.stream, "*", "data", data)
        return entry_id

    async def wait(self, entry_id: bytes, within: int) -> None:
        """Wait until the entry was read; raises `UnavailableError` after so many milliseconds."""
        deadline = time.monotonic() + within / 1000
        while not is_passed(await self._ask("HGET", self._own.partition, "cursor"), entry_id):
            if time.monotonic() >= deadline:
                raise UnavailableError(
                    f"{await self._trouble()}: the update was not read within {within / 1000:g} s; "
                    f"it stays in {self.stream} and counts as soon as it is read"
                )
            await asyncio.sleep(LOOK_EVERY)

    async def _trouble(self) -> str:
        owner = await self._ask("GET", self._lease)
        who = "no worker reads" if owner is None else f"{decoded(owner)} is behind with"
        return f"{who} partition {self._number}"

    async def outcome(self, entry_id: bytes, before: _Seen) -> Outcome:
        """Return what became of the entry, which was read."""
        after = await self.look()
        rejected = await self._rejection(entry_id, before.last_rejected, after.last_rejected)
        if (
            rejected is None
            and after.status == before.status
            and after.duplicates == before.duplicates
        ):
            rejected = "the reason is not there any more: max_rejected is too small to keep it"
        return Outcome(before=before.status, after=after.status, rejected=rejected)

    async def _rejection(self, entry_id: bytes, first: bytes, last: bytes) -> str | None:
        """Return reason and detail of an entry rejected after the first one, up to the last one."""
        while True:
            page = await self._ask("XRANGE", self._own.rejected, b"(" + first, last, "COUNT", PAGE)
            for _, values in page:
                fields = dict(zip(values[::2], values[1::2], strict=True))
                if (fields.get(b"stream"), fields.get(b"id")) == (self.stream.encode(), entry_id):
                    reason, detail = fields.get(b"reason", b""), fields.get(b"detail", b"")
                    return f"{decoded(reason)}: {decoded(detail)}"
            if len(page) < PAGE:
                return None
            first = page[-1][0]

    async def _ask(self, command: str, key: str, *others: str | bytes | int) -> Any:
        """Return the reply to a command; where it is an error, that names the key."""
        try:
            return await self._client.execute(command, key, *others)
        except ResponseError as error:
            raise ResponseError(f"{command} {key}: {error}") from None


def _updated_at(status: bytes | None) -> int | float:
    """Return the time of a status; 0 where there is none."""
    try:
        return msgspec.json.decode(status or b"", type=Status).updated_at
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


def is_passed(cursor: bytes | None, entry_id: bytes) -> bool:
    """Tell whether a cursor stands at an entry or after it."""
    at, wanted = _entry_id(cursor or b""), _entry_id(entry_id)
    if at is None or wanted is None:
        return False
    return (int(at[1]), int(at[2])) >= (int(wanted[1]), int(wanted[2]))


def lines(outcome: Outcome) -> Iterator[str]:
    """Yield what there is to say."""
    if outcome.rejected is not None:
        yield f"rejected: {outcome.rejected}"
        return
    if outcome.after == outcome.before:
        yield "unchanged: a duplicate"
    else:
        yield f"before: {_text(outcome.before)}"
    yield f"after: {_text(outcome.after)}"


def _text(status: bytes | None) -> str:
    return "none" if status is None else decoded(status)
