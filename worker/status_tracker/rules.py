"""The rules of a deployment: what decides results, from `rules.toml`, checked before use."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from status_tracker.errors import ConfigError
from status_tracker.lifecycle import (
    Lifecycle,
    Table,
    lifecycle,
    problems,
    table_of,
    wrong_name,
)
from status_tracker.text import shortened
from status_tracker.toml import read_toml
from status_tracker.units import Bytes, Milliseconds, quantity, written

MOST_KINDS = 32
MOST_HISTORY = 10_000


class Rules(Struct, frozen=True, kw_only=True):
    """What decides results: the limits, and the lifecycle of each kind."""

    max_clock_skew: Milliseconds
    """How far `updatedAt` may be ahead of the stream's time."""
    clock_skew: Milliseconds
    """How much older than the status a plain transition may be."""
    max_event_bytes: Bytes
    history: int
    """Changes that are kept of each entity."""
    kinds: Mapping[str, Lifecycle]


class _Limits(Struct, forbid_unknown_fields=True, kw_only=True):
    """What stands at the top of the file."""

    max_clock_skew: Milliseconds
    clock_skew: Milliseconds
    max_event_bytes: Bytes
    history: Annotated[int, Meta(ge=0, le=MOST_HISTORY)] = 0


_PHASES = 'a list of phases: ["pending", "waiting"]'
_TIMES = "a table of phases, each with a duration: "
_STEPS = 'a table of phases, each with those that follow it: pending = ["waiting", "failed"]'

_FORMS: dict[str, str] = {
    **dict.fromkeys(("phases", "initial", "success", "terminal", "settled"), _PHASES),
    **dict.fromkeys(("transitions", "retries", "restarts"), _STEPS),
    "stalled": f'{_TIMES}running = "5m"',
    "retention": f'{_TIMES}completed = "7d"',
    "on_stalled": 'a phase: "failed"',
    "max_retries": "a whole number, at least 0",
    "history": f"a whole number from 0 to {MOST_HISTORY}",
    "max_clock_skew": f"a duration: {Milliseconds.examples}",
    "clock_skew": f"a duration: {Milliseconds.examples}",
    "max_event_bytes": f"a size: {Bytes.examples}",
}
"""What each key holds, for the line that refuses what is there instead."""
_KIND = "a table: phases = …, initial = …, success = …, terminal = …, transitions = …"


def load_rules(path: Path) -> Rules:
    """Read and check a file of rules.

    Raises `ConfigError`, in one line with the file and the key, where the file cannot be read or a
    lifecycle in it cannot work.
    """
    try:
        return parse_rules(read_toml(path))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_rules(found: Mapping[str, Any]) -> Rules:
    """Check rules; raises ValueError, which begins with the key to change."""
    names = [each.name for each in msgspec.structs.fields(_Limits)]
    kinds = [key for key in found if key not in names]
    problem = next(filter(None, map(wrong_name, kinds)), None)
    if problem is not None:
        raise ValueError(problem)
    limits: _Limits = _converted({key: found[key] for key in found if key in names}, _Limits, ())
    tables: dict[str, Table] = {
        kind: _converted(value, Table, (kind,))
        for kind, value in found.items()
        if kind not in names
    }
    if not tables:
        raise ValueError("there is no kind: write a table for each, such as [task]")
    if len(tables) > MOST_KINDS:
        raise ValueError(f"{len(tables)} kinds are too many: write at most {MOST_KINDS}")
    for kind, table in tables.items():
        problem = next(problems(kind, table), None)
        if problem is not None:
            raise ValueError(problem)
    return Rules(
        max_clock_skew=limits.max_clock_skew,
        clock_skew=limits.clock_skew,
        max_event_bytes=limits.max_event_bytes,
        history=limits.history,
        kinds={kind: lifecycle(table) for kind, table in tables.items()},
    )


def without_times(rules: Rules) -> Rules:
    """Return rules by which nothing happens by itself: no entity is ever stalled or taken away."""
    kinds = {
        kind: msgspec.structs.replace(each, stalled={}, on_stalled=None, retention={})
        for kind, each in rules.kinds.items()
    }
    return msgspec.structs.replace(rules, kinds=kinds)


def rules_json(rules: Rules) -> str:
    """Return rules as JSON of the same shape as the file, which `parse_rules` takes."""
    return msgspec.json.encode(_as_file(rules)).decode()


class Difference(Struct, frozen=True):
    """One key that two rules have different values of; None where one has no such key."""

    key: str
    before: Any
    after: Any


def in_words(value: object) -> str:
    """Return a value of the file as people read it in a line."""
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "nothing" if value is None else str(value)


def differences(before: Rules, after: Rules) -> list[Difference]:
    """Return what is not the same, by the file's keys: ``task.transitions.pending``."""
    old, new = _flat(before), _flat(after)
    for kind in before.kinds.keys() ^ after.kinds.keys():
        # Of a kind that only one of them has, one line is enough.
        for side, rules in ((old, before), (new, after)):
            for key in [key for key in side if key.startswith(f"{kind}.")]:
                del side[key]
            if kind in rules.kinds:
                side[kind] = list(rules.kinds[kind].phases)
    keys = [*old, *(key for key in new if key not in old)]
    return [
        Difference(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)
    ]


def _as_file(rules: Rules) -> dict[str, Any]:
    limits = {
        "max_clock_skew": written(rules.max_clock_skew),
        "clock_skew": written(rules.clock_skew),
        "max_event_bytes": written(rules.max_event_bytes),
        "history": rules.history,
    }
    return limits | {kind: table_of(each) for kind, each in rules.kinds.items()}


def _flat(rules: Rules) -> dict[str, Any]:
    """Return the values of the file by their whole keys; a list of steps has no order."""
    flat: dict[str, Any] = {}
    for key, value in _as_file(rules).items():
        table = value if isinstance(value, dict) else {}
        if not table:
            flat[key] = value
        for name, held in table.items():
            steps = held if isinstance(held, dict) else {}
            flat |= {
                f"{key}.{name}.{start}": sorted(ends) if isinstance(ends, list) else ends
                for start, ends in steps.items()
            }
            if held is not steps:
                flat[f"{key}.{name}"] = held
    return flat


def _converted(value: object, wanted: Any, parents: tuple[str, ...]) -> Any:
    try:
        return msgspec.convert(value, wanted, dec_hook=_quantity)
    except msgspec.ValidationError as error:
        raise ValueError(_in_words(error, parents)) from None


def _quantity(wanted: type, value: object) -> Any:
    return quantity(wanted, str(value))


def _in_words(error: msgspec.ValidationError, parents: tuple[str, ...]) -> str:
    """Say what is wrong with the form of a table, beginning with the key to change."""
    problem, _, place = str(error).partition(" - at `$.")
    path = [*parents, *re.findall(r"\w+", place)[:1]]  # also of `$.transitions[...][0]`
    key = ".".join(map(shortened, path))
    if path[-1:] in (["stalled"], ["retention"]) and ": write " in problem:
        return f"{key}: {problem}"
    named = re.match(r"Object (missing|contains).* field `(.*)`", problem, re.DOTALL)
    if named is None:
        form = _FORMS.get(path[-1], _KIND) if len(path) > len(parents) else _KIND
        return f"{key}: write {form}"
    key = ".".join([*parents, shortened(named[2])])
    if named[1] == "contains":
        return f"{key}: no such key; mend its name, or remove it"
    return f"{key}: missing; write {_FORMS[named[2]]}"
