"""Ways in which somebody may break a key of a right deployment, and what `verify` finds then."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from status_tracker.keys import PartitionKeys

from tests.events import NOW
from tests.line import RULES
from tests.servers import Redis


class Victim(NamedTuple):
    """An entity whose keys are broken."""

    client: Redis
    own: PartitionKeys
    kind: str
    id: str
    phase: str
    """What its status says."""
    others: list[str]
    """The other phases of its kind."""

    @property
    def set(self) -> str:
        """The key of the set that it is in."""
        return self.own.phase(self.kind, self.phase)

    @property
    def other(self) -> str:
        """The key of a set that it is not in."""
        return self.own.phase(self.kind, self.others[0])

    @property
    def stranger(self) -> str:
        """An id of which there is nothing."""
        return f"{self.id}-gone"


Way = Callable[[Victim], list[str]]
"""Breaks something; returns what is found besides counts, which the test counts by itself."""


def _moved(victim: Victim) -> list[str]:
    score = victim.client.zscore(victim.set, victim.id)
    victim.client.zrem(victim.set, victim.id)
    victim.client.zadd(victim.other, {victim.id: score})
    return ["missing_entry", "entry_elsewhere"]


def _missing(victim: Victim) -> list[str]:
    victim.client.zrem(victim.set, victim.id)
    return ["missing_entry"]


def _missing_and_counted(victim: Victim) -> list[str]:
    victim.client.zrem(victim.set, victim.id)
    victim.client.hincrby(victim.own.counts(victim.kind), victim.phase, -1)
    return ["missing_entry"]


def _in_two_sets(victim: Victim) -> list[str]:
    victim.client.zadd(victim.other, {victim.id: NOW})
    return ["entry_elsewhere"]


def _in_all_sets(victim: Victim) -> list[str]:
    for phase in victim.others:
        victim.client.zadd(victim.own.phase(victim.kind, phase), {victim.id: NOW})
    return ["entry_elsewhere"] * len(victim.others)


def _of_nobody(victim: Victim) -> list[str]:
    victim.client.zadd(victim.other, {victim.stranger: NOW})
    return ["entry_without_status"]


def _of_bytes(victim: Victim) -> list[str]:
    victim.client.zadd(victim.set, {victim.id.encode() + b"\xff\n": NOW})
    return ["entry_without_status"]


def _late(victim: Victim) -> list[str]:
    victim.client.zadd(victim.set, {victim.id: NOW + 1_000_000})
    return ["wrong_score"]


def _early(victim: Victim) -> list[str]:
    victim.client.zincrby(victim.set, -0.5, victim.id)
    return ["wrong_score"]


def _infinite(victim: Victim) -> list[str]:
    victim.client.zadd(victim.set, {victim.id: "-inf"})
    return ["wrong_score"]


def _miscounted(victim: Victim) -> list[str]:
    victim.client.hincrby(victim.own.counts(victim.kind), victim.phase, 3)
    return []


def _uncountable(victim: Victim) -> list[str]:
    victim.client.hset(victim.own.counts(victim.kind), victim.phase, "m\x1bny")
    return []


def _uncounted(victim: Victim) -> list[str]:
    victim.client.delete(victim.own.counts(victim.kind))
    return []


def _marked_though_gone(victim: Victim) -> list[str]:
    victim.client.zadd(victim.own.stalled(victim.kind), {victim.stranger: NOW})
    return ["wrong_mark"]


def _marked_without_limit(victim: Victim) -> list[str]:
    if victim.phase in RULES.kinds[victim.kind].stalled:
        return []
    victim.client.zadd(victim.own.stalled(victim.kind), {victim.id: NOW})
    return ["wrong_mark"]


def _history_of_nobody(victim: Victim) -> list[str]:
    change = {"phase": "pending", "updatedAt": NOW}
    victim.client.lpush(victim.own.history(victim.kind, victim.stranger), json.dumps(change))
    return ["history_without_status"]


MENDED: dict[str, Way] = {
    way.__name__: way
    for way in (
        *(_moved, _missing, _missing_and_counted, _in_two_sets, _in_all_sets, _of_nobody),
        *(_of_bytes, _late, _early, _infinite, _miscounted, _uncountable, _uncounted),
        *(_marked_though_gone, _marked_without_limit, _history_of_nobody),
    )
}
"""After a repair, all keys are as they were."""


def _no_json(victim: Victim) -> list[str]:
    victim.client.set(victim.own.status(victim.kind, victim.id), '{"phase":')
    return ["no_status"]


def _no_status(victim: Victim) -> list[str]:
    victim.client.set(victim.own.status(victim.kind, victim.id), '{"phase":"running"}')
    return ["no_status"]


def _no_string(victim: Victim) -> list[str]:
    key = victim.own.status(victim.kind, victim.id)
    victim.client.delete(key)
    victim.client.hset(key, "phase", victim.phase)
    return ["wrong_type"]


def _set_of_another_type(victim: Victim) -> list[str]:
    victim.client.delete(victim.set)
    victim.client.set(victim.set, "in the way")
    return ["wrong_type"]


def _counts_of_another_type(victim: Victim) -> list[str]:
    key = victim.own.counts(victim.kind)
    victim.client.delete(key)
    victim.client.set(key, "in the way")
    return ["wrong_type"]


def _history_of_another_type(victim: Victim) -> list[str]:
    key = victim.own.history(victim.kind, victim.id)
    victim.client.delete(key)
    victim.client.set(key, "in the way")
    return ["wrong_type"]


def _other_history(victim: Victim) -> list[str]:
    victim.client.lpop(victim.own.history(victim.kind, victim.id))
    return ["history_differs"]


def _later_history(victim: Victim) -> list[str]:
    key = victim.own.history(victim.kind, victim.id)
    newest = json.loads(victim.client.lindex(key, 0))
    victim.client.lset(key, 0, json.dumps({**newest, "updatedAt": NOW + 1_000_000}))
    return ["history_differs"]


def _unreadable_history(victim: Victim) -> list[str]:
    victim.client.lset(victim.own.history(victim.kind, victim.id), 0, "\x1bc")
    return ["history_differs"]


def _unknown_kind(victim: Victim) -> list[str]:
    document = json.dumps({"phase": "running", "updatedAt": NOW})
    victim.client.set(victim.own.status("export", victim.id), document)
    victim.client.zadd(victim.own.phase("export", "running"), {victim.id: NOW})
    return ["unknown_kind", "unknown_kind"]


def _unknown_set(victim: Victim) -> list[str]:
    victim.client.zadd(victim.own.phase(victim.kind, "stuck"), {victim.id: NOW})
    return ["unknown_phase"]


def _impossible_id(victim: Victim) -> list[str]:
    document = json.dumps({"phase": "running", "retries": 0, "updatedAt": NOW})
    victim.client.set(victim.own.status(victim.kind, "{9}:x y"), document)
    return ["misplaced"]


NAMED: dict[str, Way] = {
    way.__name__: way
    for way in (
        *(_no_json, _no_status, _no_string, _set_of_another_type),
        *(_counts_of_another_type, _history_of_another_type),
        *(_other_history, _later_history, _unreadable_history),
        *(_unknown_kind, _unknown_set, _impossible_id),
    )
}
"""Only somebody who knows what it should be can mend it: a repair leaves it."""


def miscounted(client: Redis, owns: list[PartitionKeys], kinds: dict[str, Any]) -> Counter[str]:
    """Return how many counts are not the size of their set."""
    wrong = 0
    for own in owns:
        for kind, lifecycle in kinds.items():
            for phase in lifecycle.phases:
                key, counts = own.phase(kind, phase), own.counts(kind)
                if client.type(key) in ("zset", "none") and client.type(counts) != "string":
                    wrong += (client.hget(counts, phase) or "0") != str(client.zcard(key))
    return Counter({"wrong_count": wrong} if wrong else {})
