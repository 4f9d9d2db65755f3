"""Copies what still comes to an old deployment's streams to the right ones of its successor.

It stands in the place of the old workers: it has the leases, reads each stream after the cursor,
and ends every entry as forwarded, by the commit script. So of two that read a partition one is
told, and `fleet` shows how much is left. Before the cursor moves, the entries are in the new
streams, each once: the new partition's hash notes the last one, as it does for forwards.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
from redis.exceptions import ResponseError

from status_tracker.cancellation import together
from status_tracker.connection.client import UNAVAILABLE, Client, checked
from status_tracker.decode import FIELD, REMOVE, Entry, find_data
from status_tracker.engine.backoff import Backoff
from status_tracker.engine.batch import Batch, Forward
from status_tracker.engine.commit import commit_call
from status_tracker.engine.leases import Leases
from status_tracker.engine.store import Store
from status_tracker.errors import ConfigError
from status_tracker.keys import partition_of
from status_tracker.lua.attach import Attached
from status_tracker.lua.commit import CursorMovedError, commit
from status_tracker.lua.forward import forward
from status_tracker.maintenance.window import Imported, as_numbers, ended_of, named_in
from status_tracker.metadata import Deployment
from status_tracker.models import Rejection
from status_tracker.removal import decode_removal
from status_tracker.text import decoded_fields

log: logging.Logger = logging.getLogger(__name__)

AT_ONCE = 1_000
BYTES_AT_ONCE = 1024 * 1024
"""Of entries that are copied together."""

BLOCK = 500
"""Milliseconds that a read waits for entries."""

LEASE_TTL = 10_000
RENEW_EVERY = 0.5
"""Milliseconds that a lease lasts, and seconds after which it is renewed."""


class Side(NamedTuple):
    """A deployment, and a client of its server."""

    client: Client
    deployment: Deployment


class Bridge:
    """Copies entries until none came for some time, or until it is stopped."""

    def __init__(self, old: Side, new: Side, backoff: Backoff, *, name: str, idle: int) -> None:
        """Begin when it is run; `idle` is in ms."""
        self.entries: int = 0
        """How many of the old streams were copied."""
        self._old = old
        self._new = new
        self._backoff = backoff
        self._idle = idle / 1000
        self._partitions = range(old.deployment.partitions)
        self._leases = Leases(
            old.client, old.deployment.keys, len(self._partitions), name=name, ttl=LEASE_TTL
        )
        self._ours = {number: asyncio.Event() for number in self._partitions}
        self._waits_for: dict[int, str] = {}
        # Partitions of whose stream all is copied.
        self._drained: set[int] = set()
        self._moved_at = time.monotonic()
        self._done = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return when what is on its way is copied."""
        self._done.set()

    async def run(self) -> None:
        """Copy entries; raises `ConfigError` where they are not those that the import lacks."""
        imported = await self._imported()
        lines = [self._line(number, imported) for number in self._partitions]
        try:
            await together([self._keep_leases(), self._watch(), *lines])
        finally:
            with suppress(*UNAVAILABLE):
                await self._leases.release(self._partitions)
                await self._leases.leave()

    async def _imported(self) -> Imported:
        key = self._new.deployment.keys.meta
        text = await self._new.client.execute("HGET", key, "imported")
        try:
            found = msgspec.json.decode(text or b"", type=Imported)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ConfigError(
                f"imported: {key} does not say what it was imported from: import an export of the "
                "old deployment first"
            ) from None
        if len(found.partitions) != len(self._partitions):
            raise ConfigError(
                f"imported: {key} was imported from a deployment of {len(found.partitions)} "
                f"partitions, and the old one has {len(self._partitions)}: name the right one"
            )
        return found

    async def _keep_leases(self) -> None:
        """Take and renew the leases of the old deployment, so that no worker has them."""
        while not self._done.is_set():
            try:
                await self._leases.beat(LEASE_TTL)
                await self._leases.claim(self._partitions, self._claimed)
            except UNAVAILABLE as error:
                self._backoff.failed("leases", error)
            else:
                self._backoff.succeeded("leases")
            await self._pause()

    def _claimed(self, number: int, owner: str | ResponseError) -> None:
        if isinstance(owner, ResponseError):
            self._backoff.failed(f"lease {number}", owner)
        elif owner == self._leases.name:
            self._ours[number].set()
        elif self._waits_for.get(number) != owner:
            self._waits_for[number] = owner
            log.warning(
                "partition %d: waiting for %s, which reads it, to stop",
                number,
                owner,
                extra={"event": "bridge_waits", "partition": number, "owner": owner},
            )

    async def _watch(self) -> None:
        """See when all is copied, and when nothing came for so long that no producer is left."""
        said = False
        while not self._done.is_set():
            if len(self._drained) == len(self._partitions):
                if not said:
                    log.info(
                        "caught up after %d entries: producers may switch",
                        self.entries,
                        extra={"event": "bridge_caught_up", "count": self.entries},
                    )
                said = True
                if time.monotonic() - self._moved_at > self._idle:
                    self._done.set()
            await self._pause()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._done.wait(), RENEW_EVERY)

    async def _line(self, number: int, imported: Imported) -> None:
        """Copy the entries of one stream."""
        while not (self._done.is_set() or self._ours[number].is_set()):
            await self._pause()
        store = Store(self._old.client, self._old.deployment, number, max_changes=1, max_rejected=1)
        who = f"partition {number}"
        while not self._done.is_set():
            try:
                attached = await store.attach(self._old.deployment, thorough=True)
                await self._check_alone(number, imported)
                self._backoff.succeeded(who)
                await self._copy(number, attached, store)
            except CursorMovedError as moved:
                log.warning(
                    "partition %d: somebody else read on to %s",
                    number,
                    moved.cursor,
                    extra={"event": "cursor_moved", "partition": number},
                )
            except UNAVAILABLE as error:
                await self._backoff.wait(who, error, self._done)

    async def _check_alone(self, number: int, imported: Imported) -> None:
        """Refuse to go on where more was applied here than the import has."""
        own = self._old.deployment.keys.partition(number)
        fields = decoded_fields(await self._old.client.execute("HGETALL", own.partition))
        applied = ended_of(fields).here - imported.partitions[number].here
        if applied:
            raise ConfigError(
                f"{own.partition}: {applied:,} entries were applied after the export: stop the old "
                "workers, export again, and import that"
            )

    async def _copy(self, number: int, attached: Attached, store: Store) -> None:
        cursor, forwarded = attached.cursor, await self._forwarded(number, attached.epoch)
        while not self._done.is_set():
            entries = await store.read_cut(cursor, count=AT_ONCE, size=BYTES_AT_ONCE)
            if not entries:
                self._drained.add(number)
                await store.read(cursor, count=1, block=BLOCK)
                continue
            self._drained.discard(number)
            self._moved_at = time.monotonic()
            await self._add(number, attached.epoch, entries, forwarded)
            await self._end(number, cursor, entries)
            cursor = entries[-1][0].decode()
            self.entries += len(entries)

    async def _forwarded(self, number: int, epoch: int) -> Mapping[int, tuple[int, int]]:
        """Return up to which ID the old worker had forwarded, when it stopped, by receiver.

        In the layout `cluster` that comes before the commit.
        """
        keys = self._old.deployment.keys
        if keys.layout == "single":
            return {}
        hashes = [keys.partition(each).partition for each in self._partitions]
        replies = checked(
            await self._old.client.execute_all(
                [("HGET", each, f"from:{number}") for each in hashes]
            )
        )
        found = {}
        for receiver, reply in zip(self._partitions, replies, strict=True):
            noted_epoch, _, entry_id = (reply or b"").decode().partition("/")
            if noted_epoch == str(epoch):
                found[receiver] = as_numbers(entry_id)
        return found

    async def _add(
        self,
        number: int,
        epoch: int,
        entries: Sequence[Entry],
        forwarded: Mapping[int, tuple[int, int]],
    ) -> None:
        """Add entries to the streams of the new deployment."""
        wanted: dict[int, list[tuple[bytes, bytes, bytes]]] = defaultdict(list)
        for entry_id, flat in entries:
            at = as_numbers(entry_id.decode())
            for target in targets(flat, number, self._old.deployment, self._new.deployment):
                if target.old != number and at <= forwarded.get(target.old, (0, 0)):
                    continue
                wanted[target.new].append((entry_id, target.field, target.value))
        for receiver, some in wanted.items():
            own = self._new.deployment.keys.partition(receiver)
            await forward(
                self._new.client,
                partition=own.partition,
                events=own.events,
                sender=number,
                epoch=epoch,
                entries=some,
                noted="bridged",
            )

    async def _end(self, number: int, cursor: str, entries: Sequence[Entry]) -> None:
        """Move the old cursor over entries that are in the new streams: they are forwarded."""
        batch = Batch(
            number=number,
            read_from=cursor,
            cursor=entries[-1][0].decode(),
            revision=self._old.deployment.revision,
            history=0,
            entries=len(entries),
            forwards={number: [Forward(entry_id, b"", "") for entry_id, _ in entries]},
        )
        own = self._old.deployment.keys.partition(number)
        call = commit_call([batch], [own], {}, max_changes=1, max_rejected=1)
        await commit(self._old.client, call)


class Target(NamedTuple):
    """What of an entry goes where."""

    old: int
    """The partition in which the old deployment has the entity."""
    new: int
    field: bytes
    value: bytes


def targets(
    flat: Sequence[bytes], number: int, old: Deployment, new: Deployment
) -> Iterator[Target]:
    """Yield where an entry of an old partition belongs; what is rejected goes anywhere."""
    value = find_data(flat)
    anywhere = number % new.partitions
    if isinstance(value, Rejection):
        yield Target(number, anywhere, flat[0], flat[1])
    elif isinstance(value, bytes):
        entity = named_in(value)
        if entity is None:
            yield Target(number, anywhere, FIELD, value)
        else:
            home = partition_of(entity.id, old.partitions)
            yield Target(home, partition_of(entity.id, new.partitions), FIELD, value)
    else:
        most = old.rules.max_event_bytes
        removables = decode_removal(
            value.data, number=number, partitions=old.partitions, max_event_bytes=most
        )
        if isinstance(removables, Rejection):
            # Not as a removal: with other partitions it might be a right one.
            yield Target(number, anywhere, FIELD, value.data)
            return
        parts: dict[int, list[object]] = defaultdict(list)
        for each in msgspec.json.decode(value.data):
            parts[partition_of(each[1], new.partitions)].append(each)
        for receiver, some in parts.items():
            yield Target(number, receiver, REMOVE, msgspec.json.encode(some))
