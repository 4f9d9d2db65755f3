"""Consumer-group loops that one would write by hand, to drain the same backlog beside the tracker.

Each takes an own group on the streams that `restore` left. None keeps an index, counts or a feed.
"""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
import redis
from msgspec import Struct

from tests.bench.workload import PREFIX, Workload

log = logging.getLogger(__name__)

GROUP = "handwritten"
MAX_RETRIES = 3

LEGAL = {
    "pending": {"waiting", "failed", "cancelled"},
    "waiting": {"running", "failed", "cancelled"},
    "running": {"waiting", "completed", "failed", "cancelled"},
    "failed": {"pending", "waiting"},
    "cancelled": {"pending", "waiting"},
    "completed": set[str](),
}
RETRIES = {("running", "waiting"), ("failed", "pending"), ("failed", "waiting")}

Entry = Any
"""As the server sends it, ``[id, [field, value]]``; redis-py makes it ``(id, {field: value})``."""

Handle = Callable[[redis.Redis, str, list[Entry]], None]
"""What is done with the entries of one read of one stream."""


class Update(Struct, rename="camel", gc=False):
    """What an entry holds."""

    id: str
    phase: str
    updated_at: int | float
    progress: int | float | None = None
    error_message: str | None = None


class Status(Struct, rename="camel", omit_defaults=True, gc=False):
    """What a key holds."""

    phase: str
    retries: int
    updated_at: int | float
    progress: int | float | None = None
    error_message: str | None = None


_decode_update = msgspec.json.Decoder(Update).decode
_decode_status = msgspec.json.Decoder(Status).decode
_encode = msgspec.json.Encoder().encode


def drain_doing_nothing(client: redis.Redis, workload: Workload) -> float:
    """Read and acknowledge everything: what any loop on a group has to do at the least."""
    return _drain(_raw(client), workload, 1000, _acknowledge)


def drain_handwritten(client: redis.Redis, workload: Workload) -> float:
    """What a good engineer writes: a batch is one MGET and one transaction."""
    return _drain(_raw(client), workload, 1000, _apply_batch)


def drain_handwritten_mset(client: redis.Redis, workload: Workload) -> float:
    """The same, with all statuses of a batch in one MSET."""
    return _drain(_raw(client), workload, 1000, _apply_batch_by_mset)


def drain_naive(client: redis.Redis, workload: Workload) -> float:
    """What is written first: one event after the other, a GET, a SET and an XACK for each."""
    # An own one on the same connections: the one given may leave replies raw.
    plain = redis.Redis(connection_pool=client.connection_pool)
    return _drain(plain, workload, 100, _apply_one_by_one)


def _raw(client: redis.Redis) -> redis.Redis:
    """Return a client on the same connections that leaves entries as hiredis parses them."""
    raw = redis.Redis(connection_pool=client.connection_pool)
    raw.set_response_callback("XREADGROUP", lambda reply, **_: reply)
    return raw


def _drain(client: redis.Redis, workload: Workload, count: int, handle: Handle) -> float:
    """Handle every entry; return events per second."""
    streams = workload.streams()
    for key in streams:
        client.xgroup_create(key, GROUP, "0", mkstream=True)
    began = time.perf_counter()
    seen = 0
    while seen < workload.events:
        for key in streams:
            reply: Any = client.xreadgroup(GROUP, "one", {key: ">"}, count=count)
            if reply:
                entries = reply[0][1]
                handle(client, key, entries)
                seen += len(entries)
    return workload.events / (time.perf_counter() - began)


def _acknowledge(client: redis.Redis, stream: str, entries: list[Entry]) -> None:
    client.xack(stream, GROUP, *[entry[0] for entry in entries])


def _apply_batch(client: redis.Redis, stream: str, entries: list[Entry]) -> None:
    changed = _fold_batch(client, entries)
    pipeline = client.pipeline(transaction=True)
    for key, status in changed.items():
        pipeline.set(key, _encode(status))
    pipeline.xack(stream, GROUP, *[entry[0] for entry in entries])
    pipeline.execute()


def _apply_batch_by_mset(client: redis.Redis, stream: str, entries: list[Entry]) -> None:
    changed = _fold_batch(client, entries)
    pipeline = client.pipeline(transaction=True)
    if changed:
        pipeline.mset({key: _encode(status) for key, status in changed.items()})
    pipeline.xack(stream, GROUP, *[entry[0] for entry in entries])
    pipeline.execute()


def _fold_batch(client: redis.Redis, entries: list[Entry]) -> dict[str, Status]:
    """Return the statuses that change, by key."""
    updates: list[tuple[str, Update]] = []
    for entry_id, fields in entries:
        try:
            update = _decode_update(fields[1])
        except msgspec.MsgspecError as error:
            log.warning("%s dropped: %s", entry_id, error)
        else:
            updates.append((f"{PREFIX}:task:{update.id}", update))
    keys = list(dict.fromkeys(key for key, _ in updates))
    values: Any = client.mget(keys) if keys else []
    statuses = {
        key: _decode_status(value) for key, value in zip(keys, values, strict=True) if value
    }
    changed = {}
    for key, update in updates:
        status = fold(statuses.get(key), update)
        if status is not None:
            statuses[key] = changed[key] = status
    return changed


def fold(status: Status | None, update: Update) -> Status | None:
    """Return the status after an update; None where it is late, repeated or illegal."""
    retries = 0
    progress, message = update.progress, update.error_message
    if status is None:
        if update.phase != "pending":
            return None
    elif update.updated_at < status.updated_at:
        return None
    elif update.phase == status.phase:
        if update.updated_at == status.updated_at and progress == status.progress:
            return None
        retries = status.retries
        if progress is None or (status.progress is not None and status.progress > progress):
            progress = status.progress
        message = message or status.error_message
    else:
        if update.phase not in LEGAL[status.phase]:
            return None
        retries = status.retries + ((status.phase, update.phase) in RETRIES)
        if retries > MAX_RETRIES:
            return None
        if update.phase == "completed":
            progress = 1
    return Status(update.phase, retries, update.updated_at, progress, message)


def _apply_one_by_one(client: redis.Redis, stream: str, entries: list[Entry]) -> None:
    for entry_id, fields in entries:
        update = json.loads(fields[b"data"])
        key = f"{PREFIX}:{update['kind']}:{update['id']}"
        value: Any = client.get(key)
        status = json.loads(value) if value else None
        if _may_follow(update, status):
            document = {name: update[name] for name in ("phase", "progress") if name in update}
            retries = 0
            if status:
                retries = status["retries"] + ((status["phase"], update["phase"]) in RETRIES)
            document |= {"retries": retries, "updatedAt": update["updatedAt"]}
            client.set(key, json.dumps(document))
        client.xack(stream, GROUP, entry_id)


def _may_follow(update: dict[str, Any], status: dict[str, Any] | None) -> bool:
    if status is None:
        return bool(update["phase"] == "pending")
    if update["updatedAt"] < status["updatedAt"]:
        return False
    return update["phase"] == status["phase"] or update["phase"] in LEGAL[status["phase"]]
