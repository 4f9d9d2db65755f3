"""One partition's keys: reading its stream, loading statuses, committing a batch.

Errors of the connection and of the server pass through: `partition.py` waits them out.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from status_tracker.connection.url import Client
from status_tracker.decode import Entry
from status_tracker.engine.batch import Batch, Effects, Forward, Known
from status_tracker.fold import Corrupt
from status_tracker.keys import GROUP, Keys
from status_tracker.lua.script import Script
from status_tracker.models import (
    AssetChange,
    AssetStatus,
    Change,
    Kind,
    Status,
    TaskChange,
    TaskStatus,
)

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines
_encode_msgpack = msgspec.msgpack.Encoder().encode
_decode: dict[Kind, Callable[[bytes], Status]] = {
    "task": msgspec.json.Decoder(TaskStatus).decode,
    "asset": msgspec.json.Decoder(AssetStatus).decode,
}


_CHANGES: dict[Kind, type[Change]] = {"task": TaskChange, "asset": AssetChange}

_attach = Script("attach")
_commit = Script("commit")


class CursorMovedError(Exception):
    """The partition's cursor is not the one the batch was read from; nothing was written."""

    def __init__(self, cursor: str) -> None:
        super().__init__(cursor)
        self.cursor = cursor
        """Where it is instead; "" where the partition's hash vanished."""


class StatusChangedError(Exception):
    """A status key does not hold what the batch was folded from; nothing was written."""

    def __init__(self, key: str, *, was_known: bool) -> None:
        super().__init__(key)
        self.was_known = was_known
        """Whether the batch was folded from a status, and not from none."""


class Attached(Struct, frozen=True):
    """Where a partition is read on from."""

    cursor: str
    made: tuple[str, ...]
    """What was missing and is there now: any of `stream`, `hash`, `group`, `cursor`."""


class _Phase(Struct):
    """What a batch does to the set of ids in one phase."""

    entered: list[str] = []
    """``[score, id, score, id, …]``; scores as text, which Lua would make of numbers slowly."""
    left: list[str] = []


class _Rejected(Struct):
    """A rejected entry without its bytes."""

    reason: str
    detail: str
    stream: str
    id: str


class _Payload(Struct):
    """The batch as `commit.lua` takes it; the fields are explained there.

    Documents are text, for the server's msgpack knows strings but no binary.
    """

    read_from: str
    cursor: str
    entries: int
    documents: list[str]
    expected: list[str]
    phases: list[_Phase]
    counts: list[list[str | int]]
    changes: list[str]
    rejected: list[_Rejected]
    forwards: list[int]
    max_changes: int
    max_rejected: int


class Store:
    """The keys of one partition."""

    def __init__(
        self, client: Client, keys: Keys, number: int, *, max_changes: int, max_rejected: int
    ) -> None:
        self._client = client
        self._all_keys = keys
        self._keys = keys.partition(number)
        self._max_changes = max_changes
        self._max_rejected = max_rejected
        # The entries whose forwards are out while their commit is not.
        self._forwarded: set[bytes] = set()

    async def attach(self) -> Attached:
        """Find the cursor, and make anew what is missing of stream, hash and group."""
        keys = [self._keys.partition, self._keys.events]
        reply = await _attach.run(self._client, keys, [GROUP])
        cursor, *made = (name.decode() for name in reply)
        return Attached(cursor, tuple(made))

    async def read(self, cursor: str, *, count: int, block: int | None) -> list[Entry]:
        """Read up to `count` entries after the cursor.

        It waits up to `block` ms for the first one, and not at all where that is None.
        """
        waiting = () if block is None else ("BLOCK", block)
        reply = await self._client.execute_command(
            "XREAD", "COUNT", count, *waiting, "STREAMS", self._keys.events, cursor
        )
        return reply[0][1] if reply else []

    async def load(self, ids: dict[Kind, list[str]]) -> dict[Kind, Known]:
        """Load the statuses of entities, and tell which have none."""
        wanted = [
            (kind, entity_id, self._keys.status(kind, entity_id))
            for kind in ids
            for entity_id in ids[kind]
        ]
        keys = [key for _, _, key in wanted]
        loaded: dict[Kind, Known] = {kind: Known() for kind in ids}
        if not keys:
            return loaded
        # MGET has no value for a key of another type, but EXISTS counts it.
        pipeline = self._client.pipeline(transaction=False)
        # By their names: redis-py's cluster client splits or refuses the methods.
        pipeline.execute_command("MGET", *keys)
        pipeline.execute_command("EXISTS", *keys)
        values, existing = await pipeline.execute()
        missing = [key for key, value in zip(keys, values, strict=True) if value is None]
        other_types = set()
        if existing != len(keys) - len(missing):
            other_types = await self._keys_that_exist(missing)
        for (kind, entity_id, key), value in zip(wanted, values, strict=True):
            if value is not None:
                found = _decode_status(kind, key, value)
                if isinstance(found, Corrupt):
                    loaded[kind].without[entity_id] = found
                else:
                    loaded[kind].statuses[entity_id] = found
                    if value != _encode(found):
                        loaded[kind].texts[entity_id] = value.decode()
            elif key in other_types:
                detail = f"{key} holds no text: mend or delete it"
                loaded[kind].without[entity_id] = Corrupt(detail)
            else:
                loaded[kind].without[entity_id] = None
        return loaded

    async def _keys_that_exist(self, keys: list[str]) -> set[str]:
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.execute_command("EXISTS", key)
        return {key for key, found in zip(keys, await pipeline.execute(), strict=True) if found}

    async def commit(self, batch: Batch) -> int:
        """Write all that a batch does, in one atomic step.

        Returns how many rejected entries `max_rejected` pushed out. Raises `CursorMovedError` where
        the partition's cursor is not the one the batch was read from, and `StatusChangedError`
        where a status key holds something else than the batch was folded from.
        """
        forwards = {
            self._all_keys.events(number): updates for number, updates in batch.forwards.items()
        }
        if self._all_keys.layout == "cluster":
            # Another partition is in another slot, which the script may not write to. Added first
            # and committed then, an update may be forwarded twice but is never lost; not so when
            # only the commit was refused.
            await self._forward(forwards)
            forwards = {}
        keys, payload = self._payload(batch, forwards)
        raw = [entry.data for entry in batch.rejected]
        raw += [each.data for updates in forwards.values() for each in updates]
        args: list[str | bytes] = [GROUP, _encode_msgpack(payload), *raw]
        outcome, value, *expected = await _commit.run(self._client, keys, args)
        if outcome == b"changed":
            raise StatusChangedError(value.decode(), was_known=expected != [b""])
        # A restored backup may bring the same entries again, and their forwards with them.
        self._forwarded.clear()
        if outcome == b"moved":
            raise CursorMovedError(value.decode())
        return int(value)

    async def _forward(self, forwards: dict[str, list[Forward]]) -> None:
        for stream, updates in forwards.items():
            pipeline = self._client.pipeline(transaction=False)
            waiting = [each for each in updates if each.entry_id not in self._forwarded]
            for each in waiting:
                pipeline.xadd(stream, {b"data": each.data})
            await pipeline.execute()
            self._forwarded.update(each.entry_id for each in waiting)

    def _payload(
        self, batch: Batch, forwards: dict[str, list[Forward]]
    ) -> tuple[list[str], _Payload]:
        """Return KEYS and the second argument of `commit.lua`."""
        own = self._keys
        status_keys: list[str] = []
        documents: list[str] = []
        expected: list[str] = []
        for kind, effects in batch.effects.items():
            prefix = own.statuses[kind]
            status_keys += [prefix + entity_id for entity_id in effects.after]
            documents += _texts(effects.after.values())
            expected += _expected(effects)
        phases, counts = self._index(batch.changes)
        payload = _Payload(
            read_from=batch.read_from,
            cursor=batch.cursor,
            entries=batch.entries,
            documents=documents,
            expected=expected,
            phases=list(phases.values()),
            counts=[[item for pair in counts[kind].items() for item in pair] for kind in counts],
            changes=_texts(batch.changes),
            rejected=[
                _Rejected(entry.reason, entry.detail, entry.stream, entry.id)
                for entry in batch.rejected
            ],
            forwards=[len(updates) for updates in forwards.values()],
            max_changes=self._max_changes,
            max_rejected=self._max_rejected,
        )
        counts_keys = [own.counts[kind] for kind in counts]
        fixed = [own.partition, own.events, own.changes, own.rejected, *counts_keys]
        return [*fixed, *status_keys, *phases, *forwards], payload

    def _index(self, changes: list[Change]) -> tuple[dict[str, _Phase], dict[Kind, dict[str, int]]]:
        """Sum changes up: one move of an entity, however often it changed, and counts by phase."""
        phases: dict[str, _Phase] = {}
        counts: dict[Kind, dict[str, int]] = {"task": {}, "asset": {}}
        for kind, change_type in _CHANGES.items():
            own = [change for change in changes if type(change) is change_type]
            starts = {change.id: change.from_phase for change in reversed(own)}
            ends = {change.id: change for change in own}
            moved: dict[str | None, _Phase] = defaultdict(_Phase)
            for entity_id, start in starts.items():
                moved[start].left.append(entity_id)
            for entity_id, change in ends.items():
                moved[change.phase].entered += (str(change.updated_at), entity_id)
            for phase, moves in moved.items():
                if phase is not None:  # new entities left nothing
                    phases[self._keys.phases[kind][phase]] = moves
                    counts[kind][phase] = len(moves.entered) // 2 - len(moves.left)
        return phases, counts


def _expected(effects: Effects) -> list[str]:
    """What each status key must still hold; "" where there must be none."""
    before = effects.before
    texts = iter(_texts(filter(None, before)))
    expected = ["" if status is None else next(texts) for status in before]
    if effects.texts:
        return [effects.texts.get(*each) for each in zip(effects.after, expected, strict=True)]
    return expected


def _texts(documents: Iterable[Status | Change]) -> list[str]:
    """Write documents, none of which has a newline: in JSON text it is escaped."""
    return _encode_lines(documents).decode().split("\n")[:-1]


def _decode_status(kind: Kind, key: str, value: bytes) -> Status | Corrupt:
    try:
        value.decode()
        return _decode[kind](value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Corrupt(f"{key} holds no status ({error}): mend or delete it")
