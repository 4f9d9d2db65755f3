"""Which phase may follow which, as data: read from `lifecycles.toml` and checked before use."""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from status_tracker.errors import ConfigError
from status_tracker.models import PHASES, Kind
from status_tracker.text import shortened
from status_tracker.toml import read_toml


class Edge(Enum):
    """What a step from one phase to another means."""

    TRANSITION = "transition"
    """A plain step forward."""
    RETRY = "retry"
    """Begins a new attempt, and counts one."""
    RESTART = "restart"
    """Begins a new attempt, with the count back at 0."""


class Lifecycle(Struct, frozen=True, kw_only=True):
    """The life of one kind of entity; `edges` is ``from → to → edge``."""

    initial: frozenset[str]
    success: frozenset[str]
    terminal: frozenset[str]
    max_retries: int
    """How many retries a restart gives; 0 for a kind that counts none."""
    edges: Mapping[str, Mapping[str, Edge]]
    """Every phase of the kind has its row, an empty one where nothing leaves it."""


Lifecycles = Mapping[Kind, Lifecycle]


class _Table(Struct, forbid_unknown_fields=True, kw_only=True):
    """`[task]` or `[asset]` as the file has it."""

    initial: Annotated[list[str], Meta(min_length=1)]
    success: list[str]
    terminal: list[str]
    transitions: dict[str, list[str]]
    restarts: dict[str, list[str]] = {}
    retries: dict[str, list[str]] | None = None
    max_retries: Annotated[int, Meta(ge=0)] | None = None


class _File(Struct, forbid_unknown_fields=True):
    task: _Table
    asset: _Table


_PHASES = 'a list of phases: ["pending", "waiting"]'
_STEPS = 'a table of phases, each with those that follow it: pending = ["waiting", "failed"]'

_FORMS: dict[str, str] = {
    **dict.fromkeys(PHASES, "a table: initial = …, success = …, terminal = …, transitions = …"),
    **dict.fromkeys(("initial", "success", "terminal"), _PHASES),
    **dict.fromkeys(("transitions", "retries", "restarts"), _STEPS),
    "max_retries": "a whole number, at least 0",
}
"""What each key holds, for the line that refuses what is there instead."""


def load_lifecycles(path: Path) -> Lifecycles:
    """Read and check a lifecycles file.

    Raises `ConfigError`, in one line with the file and the key, where the file cannot be read or a
    lifecycle in it cannot work.
    """
    try:
        file = msgspec.convert(read_toml(path), _File)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_in_words(error)}") from None
    problem = next(chain(_problems("task", file.task), _problems("asset", file.asset)), None)
    if problem is not None:
        raise ConfigError(f"{path}: {problem}")
    return {"task": _lifecycle("task", file.task), "asset": _lifecycle("asset", file.asset)}


def _in_words(error: msgspec.ValidationError) -> str:
    """Say what is wrong with the form of a file, beginning with the key to change."""
    problem, _, place = str(error).partition(" - at `$.")
    parents = re.findall(r"\w+", place)  # also of a list in a table: `$.task.transitions[...][0]`
    named = re.match(r"Object (missing|contains).* field `(.*)`", problem, re.DOTALL)
    if named is None:
        key = ".".join(parents[:2])
        return f"{key}: write {_FORMS[parents[:2][-1]]}"
    key = ".".join([*parents, shortened(named[2])])
    if named[1] == "contains":
        return f"{key}: no such key; mend its name, or remove it"
    return f"{key}: missing; write {_FORMS[named[2]]}"


def _lifecycle(kind: Kind, table: _Table) -> Lifecycle:
    edges: dict[str, dict[str, Edge]] = {phase: {} for phase in PHASES[kind]}
    for _, edge, start, end in _steps(table):
        edges[start][end] = edge
    return Lifecycle(
        initial=frozenset(table.initial),
        success=frozenset(table.success),
        terminal=frozenset(table.terminal),
        max_retries=table.max_retries or 0,
        edges=edges,
    )


def _steps(table: _Table) -> Iterator[tuple[str, Edge, str, str]]:
    """Every step of a table, as ``(key, edge, from, to)``."""
    for name, edge, steps in (
        ("transitions", Edge.TRANSITION, table.transitions),
        ("retries", Edge.RETRY, table.retries or {}),
        ("restarts", Edge.RESTART, table.restarts),
    ):
        for start, ends in steps.items():
            for end in ends:
                yield f"{name}.{start}", edge, start, end


def _problems(kind: Kind, table: _Table) -> Iterator[str]:
    """What is wrong with a lifecycle, each line beginning with the key to change."""
    yield from _wrong_for_kind(kind, table)
    yield from _unknown_phases(kind, table)
    yield from _wrong_steps(kind, table)
    yield from _unreached_phases(kind, table)


def _wrong_for_kind(kind: Kind, table: _Table) -> Iterator[str]:
    if kind == "task":
        if table.max_retries is None:
            yield "task.max_retries: missing; say how often a task may be retried (0: never)"
        return
    if table.retries is not None:
        yield f"{kind}.retries: only tasks count retries; list the step in restarts instead"
    if table.max_retries is not None:
        yield f"{kind}.max_retries: only tasks count retries; remove it"


def _unknown_phases(kind: Kind, table: _Table) -> Iterator[str]:
    named = [
        (key, phase) for key in ("initial", "success", "terminal") for phase in getattr(table, key)
    ]
    named += [(key, phase) for key, _, start, end in _steps(table) for phase in (start, end)]
    known = PHASES[kind]
    for key, phase in named:
        if phase not in known:
            yield f"{kind}.{key}: {phase!r} is no {kind} phase; there are {', '.join(known)}"


def _wrong_steps(kind: Kind, table: _Table) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for key, _, start, end in _steps(table):
        if start == end:
            yield f"{kind}.{key}: {start} -> {end} goes nowhere; the same phase again needs no step"
        if start in table.terminal:
            yield (
                f"{kind}.{key}: {start} -> {end} leaves a terminal phase; "
                f"remove the step, or take {start} out of {kind}.terminal"
            )
        if (start, end) in seen:
            other = seen[start, end]
            yield f"{kind}.{key}: {start} -> {end} stands in {kind}.{other} too; keep one of them"
        seen[start, end] = key


def _unreached_phases(kind: Kind, table: _Table) -> Iterator[str]:
    steps = [(start, end) for _, _, start, end in _steps(table)]
    reached = set(table.initial)
    while found := {end for start, end in steps if start in reached and end not in reached}:
        reached |= found
    for phase in PHASES[kind]:
        if phase not in reached:
            yield f"{kind}.transitions: nothing leads to {phase}; add a step to it or begin in it"
