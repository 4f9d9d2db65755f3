"""What a system did, compared with the model: nothing lost, doubled or in another order."""

import json
import traceback
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from status_tracker.keys import Keys

from tests.acceptance.tracker import assert_as_modelled, model_of
from tests.chaos.producer import BATCH, NUMBER
from tests.chaos.sites import PARTITIONS
from tests.chaos.system import FindingError
from tests.model import Model, canonical
from tests.servers import Redis


class Checked(NamedTuple):
    """How much was compared, and found to be as it must be."""

    events: int
    forwards: int
    effects: int
    """Statuses, members of sets, counts, changes, rejected entries and forwards."""


def check(client: Redis, keys: Keys, added: int, *, flushed: bool) -> Checked:
    """Compare everything with the model, and the streams with what a producer added.

    Raises `FindingError` for the first difference. A flush took what had been added before it.
    """
    try:
        model = assert_as_modelled(client, keys)
    except AssertionError:
        model = model_of(client, keys)
        raise FindingError(
            f"{differences(found(client, keys), wanted(model, keys))}\n{traceback.format_exc()}"
        ) from None
    _check_streams(client, keys, model, added, flushed=flushed)
    forwards = len(model.forwards)
    statuses, changes, rejected = map(len, (model.statuses, model.changes, model.rejected))
    return Checked(
        events=sum(model.entries.values()),
        forwards=forwards,
        effects=2 * statuses + len(model.counts) + changes + rejected + forwards,
    )


def _check_streams(client: Redis, keys: Keys, model: Model, added: int, *, flushed: bool) -> None:
    """Every update that was added is there once, and of the forwarded ones a copy."""
    numbers: Counter[int] = Counter()
    copies: Counter[bytes] = Counter()
    for partition in range(PARTITIONS):
        for _, fields in client.xrange(keys.events(partition)):
            if NUMBER in fields:
                numbers[int(fields[NUMBER])] += 1
            elif "from" in fields:  # the others are the workers' own
                copies[fields["data"].encode(errors="surrogateescape")] += 1
    # A batch may have been added in parts, in any order, some of them before the flush.
    first = min(numbers) + BATCH if flushed else 0
    absent = [number for number in range(first, added) if number not in numbers]
    doubled = [number for number, times in numbers.items() if times > 1]
    if absent or doubled:
        raise FindingError(f"updates {absent} are in no stream, {doubled} more than once")
    forwards = Counter(each.data for each in model.forwards)
    if copies != forwards:
        raise FindingError(
            f"forwarded and lost: {forwards - copies}; more than once: {copies - forwards}"
        )


Effects = Mapping[str, Sequence[str]]
"""Whom or what they concern → what happened, in its order."""


class Differences(NamedTuple):
    """How the effects that were found differ from those that were wanted."""

    lost: Sequence[str]
    doubled: Sequence[str]
    """Those that are there too often, or should not be at all."""
    reordered: Sequence[str]

    def __str__(self) -> str:
        kinds = zip(self._fields, self, strict=True)
        lines = [", ".join(f"{len(each)} {kind}" for kind, each in kinds)]
        for kind, each in zip(self._fields, self, strict=True):
            lines += (f"{kind}: {effect}" for effect in each[:5])
        return "\n  ".join(lines)


def differences(found: Effects, wanted: Effects) -> Differences:
    """Return what was lost, doubled and reordered."""
    lost: list[str] = []
    doubled: list[str] = []
    reordered: list[str] = []
    for name in sorted({*found, *wanted}):
        was, should = found.get(name, []), wanted.get(name, [])
        lost += (f"{name}: {effect}" for effect in (Counter(should) - Counter(was)).elements())
        doubled += (f"{name}: {effect}" for effect in (Counter(was) - Counter(should)).elements())
        if Counter(was) == Counter(should) and list(was) != list(should):
            reordered.append(f"{name}: {' '.join(was)}")
    return Differences(lost, doubled, reordered)


def found(client: Redis, keys: Keys) -> Effects:
    """Return the changes of each entity and the rejected entries of each stream."""
    all_own = [keys.partition(number) for number in range(PARTITIONS)]
    effects = defaultdict(list)
    for stream in {own.changes for own in all_own}:
        for _, fields in client.xrange(stream):
            if "removed" in fields:
                for kind, entity_id in json.loads(fields["removed"]):
                    effects[f"{kind} {entity_id}"].append("removed")
                continue
            change = json.loads(fields["data"])
            effects[f"{change['kind']} {change['id']}"].append(canonical(change))
    for stream in {own.rejected for own in all_own}:
        for _, fields in client.xrange(stream):
            what = f"{fields['id']} {fields['reason']}"
            effects[f"rejected of {fields['stream']}"].append(what)
    return effects


def wanted(model: Model, keys: Keys) -> Effects:
    """Return the same of the model."""
    effects = defaultdict(list)
    for change in model.changes:
        if "removed" in change:
            for kind, entity_id in change["removed"]:
                effects[f"{kind} {entity_id}"].append("removed")
            continue
        effects[f"{change['kind']} {change['id']}"].append(canonical(change))
    for entry in model.rejected:
        effects[f"rejected of {keys.events(entry.partition)}"].append(f"{entry.id} {entry.reason}")
    return effects
