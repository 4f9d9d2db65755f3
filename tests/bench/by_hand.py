"""What is made of updates by hand, in all loops that are compared and in the FastStream service."""

import logging
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from tests.bench.workload import PREFIX

log = logging.getLogger(__name__)

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


class Update(Struct, rename="camel", gc=False):
    """What an entry holds."""

    id: str
    phase: str
    updated_at: int | float
    progress: int | float | None = None


Keyed = tuple[str, Update]
"""An update, and the key of its status before it."""


class Status(Struct, rename="camel", omit_defaults=True, gc=False):
    """What a key holds."""

    phase: str
    retries: int
    updated_at: int | float
    progress: int | float | None = None


_decode_update = msgspec.json.Decoder(Update).decode
_decode_status = msgspec.json.Decoder(Status).decode
_encode = msgspec.json.Encoder().encode


def decoded(texts: Iterable[bytes | str]) -> list[Keyed]:
    """Return what entries hold, but for those that hold something else."""
    updates = []
    for text in texts:
        try:
            update = _decode_update(text)
        except msgspec.MsgspecError as error:
            log.warning("dropped: %s", error)
        else:
            updates.append((f"{PREFIX}:task:{update.id}", update))
    return updates


def keys_of(updates: Iterable[Keyed]) -> list[str]:
    """Return the keys that updates are about, each of them once."""
    return list(dict.fromkeys(key for key, _ in updates))


def folded(updates: Iterable[Keyed], keys: list[str], values: list[Any]) -> dict[str, bytes]:
    """Return the documents that change, by key, of those that were found."""
    found = zip(keys, values, strict=True)
    statuses = {key: _decode_status(value) for key, value in found if value}
    changed = {}
    for key, update in updates:
        status = _fold(statuses.get(key), update)
        if status is not None:
            statuses[key] = changed[key] = status
    return {key: _encode(status) for key, status in changed.items()}


def _fold(status: Status | None, update: Update) -> Status | None:
    """Return the status after an update; None where it is late, repeated or illegal."""
    retries, progress = 0, update.progress
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
    else:
        retries = status.retries + ((status.phase, update.phase) in RETRIES)
        if update.phase not in LEGAL[status.phase] or retries > MAX_RETRIES:
            return None
        if update.phase == "completed":
            progress = 1
    return Status(update.phase, retries, update.updated_at, progress)


SCRIPT = """
local update = cjson.decode(ARGV[1])
local text = redis.call('GET', KEYS[1])
local steps = {
  pending = {waiting = 0, failed = 0, cancelled = 0},
  waiting = {running = 0, failed = 0, cancelled = 0},
  running = {waiting = 1, completed = 0, failed = 0, cancelled = 0},
  failed = {pending = 1, waiting = 1},
  cancelled = {pending = 0, waiting = 0},
  completed = {},
}
local retries, progress = 0, update.progress
if not text then
  if update.phase ~= 'pending' then return 0 end
else
  local status = cjson.decode(text)
  if update.updatedAt < status.updatedAt then return 0 end
  retries = status.retries
  if update.phase == status.phase then
    if update.updatedAt == status.updatedAt and progress == status.progress then return 0 end
    if status.progress and (not progress or status.progress > progress) then
      progress = status.progress
    end
  else
    local step = steps[status.phase][update.phase]
    if not step or retries + step > tonumber(ARGV[2]) then return 0 end
    retries = retries + step
    if update.phase == 'completed' then progress = 1 end
  end
end
redis.call('SET', KEYS[1], cjson.encode({
  phase = update.phase, retries = retries, progress = progress, updatedAt = update.updatedAt,
}))
return 1
"""
"""The same for one update, on the server: its key, its text and how many retries there may be."""
