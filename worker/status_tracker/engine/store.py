"""The server's half of one partition: reading its stream, loading statuses, committing a batch.

Errors of the connection and of the server pass through: `partition.py` waits them out.
"""

from collections.abc import Mapping, Sequence

import msgspec

from status_tracker.connection.client import Client, checked
from status_tracker.decode import FIELD, FROM, NAMES_SHOWN, REMOVE, Entry
from status_tracker.engine.batch import Batch, Forward, Wanted
from status_tracker.engine.commit import commit_call
from status_tracker.engine.statuses import Statuses
from status_tracker.fold import Corrupt
from status_tracker.keys import GROUP
from status_tracker.lua.attach import Attached, attach
from status_tracker.lua.commit import commit
from status_tracker.lua.forward import forward
from status_tracker.lua.read import read
from status_tracker.metadata import Deployment
from status_tracker.models import Status

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Status).decode


class Store:
    """The keys of one partition."""

    def __init__(
        self,
        client: Client,
        deployment: Deployment,
        number: int,
        *,
        max_changes: int,
        max_rejected: int,
    ) -> None:
        self._client = client
        self._deployment = deployment
        self._all_keys = deployment.keys
        self._keys = deployment.keys.partition(number)
        self._max_changes = max_changes
        self._max_rejected = max_rejected
        self._number = number
        # Which of its streams the partition has now.
        self._epoch = 0

    async def attach(self, deployment: Deployment, *, thorough: bool) -> Attached:
        """Find the cursor, go by the rules in force, recreate what is missing of the keys."""
        self._deployment = deployment
        own = self._keys
        attached = await attach(
            self._client,
            partition=own.partition,
            events=own.events,
            group=GROUP,
            thorough=thorough,
            revision=deployment.revision,
        )
        self._epoch = attached.epoch
        return attached

    async def has_marks(self) -> bool:
        """Tell whether anybody is marked as stalled, or may be."""
        keys = [self._keys.stalled(kind) for kind in self._deployment.rules.kinds]
        counts = await self._client.execute_all([("ZCARD", key) for key in keys])
        return any(count != 0 for count in counts)  # an error is none, either

    async def read(self, cursor: str, *, count: int, block: int | None) -> list[Entry]:
        """Read up to `count` entries after the cursor.

        It waits up to `block` ms for the first one, and not at all where that is None.
        """
        waiting = () if block is None else ("BLOCK", block)
        reply = await self._client.execute(
            "XREAD", "COUNT", count, *waiting, "STREAMS", self._keys.events, cursor
        )
        return reply[0][1] if reply else []

    async def read_cut(self, cursor: str, *, count: int, size: int) -> list[Entry]:
        """Read what is there, up to `count` entries or `size` bytes, cut to what is used of it."""
        return await read(
            self._client,
            events=self._keys.events,
            cursor=cursor,
            count=count,
            longest=self._deployment.rules.max_event_bytes + 1,
            size=size,
            names=NAMES_SHOWN + 1,
            fields=[FIELD, REMOVE, FROM],
        )

    async def load(self, wanted: Wanted) -> Mapping[str, Statuses]:
        """Load the statuses of entities, and tell which have none."""
        each_wanted = [
            (kind, entity_id, self._keys.status(kind, entity_id))
            for kind in wanted
            for entity_id in wanted[kind]
        ]
        keys = [key for _, _, key in each_wanted]
        loaded: dict[str, Statuses] = {kind: Statuses() for kind in wanted}
        if not keys:
            return loaded
        # MGET has no value for a key of another type, but EXISTS counts it.
        values, existing = checked(
            await self._client.execute_all([("MGET", *keys), ("EXISTS", *keys)])
        )
        missing = [key for key, value in zip(keys, values, strict=True) if value is None]
        other_types = set()
        if existing != len(keys) - len(missing):
            other_types = await self._keys_that_exist(missing)
        for (kind, entity_id, key), value in zip(each_wanted, values, strict=True):
            statuses = loaded[kind]
            if value is not None:
                found = decode_status(key, value)
                if isinstance(found, Corrupt):
                    statuses.without[entity_id] = found
                else:
                    statuses.known[entity_id] = found
                    if value != _encode(found):
                        statuses.texts[entity_id] = value.decode()
            elif key in other_types:
                detail = f"{key} holds no text: mend or delete it"
                statuses.without[entity_id] = Corrupt(detail)
            else:
                statuses.without[entity_id] = None
        return loaded

    async def _keys_that_exist(self, keys: list[str]) -> set[str]:
        found = checked(await self._client.execute_all([("EXISTS", key) for key in keys]))
        return {key for key, exists in zip(keys, found, strict=True) if exists}

    async def commit(self, batch: Batch) -> int:
        """Write all that a batch does, in one atomic step.

        Returns how many rejected entries `max_rejected` pushed out. Raises `CursorMovedError` where
        the partition's cursor is not the one the batch was read from, and `StatusChangedError`
        where a status key holds something else than the batch was folded from.
        """
        forwards = {}
        if self._all_keys.layout == "single":
            forwards = {
                self._all_keys.events(number): updates for number, updates in batch.forwards.items()
            }
        else:
            # Another partition is in another slot, which the script may not write to. It must come
            # before the commit, or a forward is lost in between.
            await self._forward(batch.forwards)
        call = commit_call(
            [batch],
            [self._keys],
            forwards,
            max_changes=self._max_changes,
            max_rejected=self._max_rejected,
        )
        return await commit(self._client, call)

    async def _forward(self, forwards: Mapping[int, Sequence[Forward]]) -> None:
        for number, updates in forwards.items():
            receiver = self._all_keys.partition(number)
            await forward(
                self._client,
                partition=receiver.partition,
                events=receiver.events,
                sender=self._number,
                epoch=self._epoch,
                entries=[(each.entry_id, FIELD, each.data) for each in updates],
            )


def decode_status(key: str, value: bytes) -> Status | Corrupt:
    """Return the status that a key holds."""
    try:
        value.decode()
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Corrupt(f"{key} holds no status ({error}): mend or delete it")
