"""Which phase may follow which, as data, checked before use."""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any

from msgspec import Meta, Struct

from status_tracker.keys import NAME_PATTERN, PARTS
from status_tracker.text import shortened
from status_tracker.units import Milliseconds, written

MOST_PHASES = 64


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

    phases: tuple[str, ...]
    """All of them, in the order in which people read them."""
    initial: frozenset[str]
    success: frozenset[str]
    terminal: frozenset[str]
    settled: frozenset[str]
    """Where whoever waits for an entity need not wait any longer."""
    max_retries: int | None
    """How many retries a restart gives; None for a kind that counts none."""
    edges: Mapping[str, Mapping[str, Edge]]
    """Every phase of the kind has its row, an empty one where nothing leaves it."""
    stalled: Mapping[str, Milliseconds]
    """Phase → how long an entity in it may be without an update."""
    on_stalled: str | None
    """The phase that an entity gets then; None where it is only marked."""
    retention: Mapping[str, Milliseconds]
    """Phase → how long after entering it an entity is taken away."""


class Table(Struct, forbid_unknown_fields=True, kw_only=True):
    """The table of a kind as the file has it."""

    phases: Annotated[list[str], Meta(min_length=1)]
    initial: Annotated[list[str], Meta(min_length=1)]
    success: list[str]
    terminal: list[str]
    settled: list[str] | None = None
    transitions: dict[str, list[str]]
    restarts: dict[str, list[str]] = {}
    retries: dict[str, list[str]] = {}
    max_retries: Annotated[int, Meta(ge=0)] | None = None
    stalled: dict[str, Milliseconds] = {}
    on_stalled: str | None = None
    retention: dict[str, Milliseconds] = {}


_STEPS = (
    ("transitions", Edge.TRANSITION),
    ("retries", Edge.RETRY),
    ("restarts", Edge.RESTART),
)
"""The keys of a table that hold steps."""

_TIMES = ("stalled", "retention")
"""The keys of a table that hold durations."""


def lifecycle(table: Table) -> Lifecycle:
    """Return the lifecycle of a table that has no problems."""
    edges: dict[str, dict[str, Edge]] = {phase: {} for phase in table.phases}
    for _, edge, start, end in _steps(table):
        edges[start][end] = edge
    return Lifecycle(
        phases=tuple(table.phases),
        initial=frozenset(table.initial),
        success=frozenset(table.success),
        terminal=frozenset(table.terminal),
        settled=frozenset(table.settled if table.settled is not None else _ends(table)),
        max_retries=table.max_retries,
        edges=edges,
        stalled=table.stalled,
        on_stalled=table.on_stalled,
        retention=table.retention,
    )


def table_of(lifecycle: Lifecycle) -> dict[str, Any]:
    """Return a lifecycle as a table of the file, with `settled` said and nothing empty."""
    named = {
        name: [phase for phase in lifecycle.phases if phase in getattr(lifecycle, name)]
        for name in ("initial", "success", "terminal", "settled")
    }
    table: dict[str, Any] = {"phases": list(lifecycle.phases), **named}
    if lifecycle.max_retries is not None:
        table["max_retries"] = lifecycle.max_retries
    table["transitions"] = {}
    for name, edge in _STEPS:
        for start in lifecycle.phases:
            ends = [end for end, found in lifecycle.edges[start].items() if found is edge]
            if ends:
                table.setdefault(name, {})[start] = ends
    for name in _TIMES:
        if times := getattr(lifecycle, name):
            table[name] = {phase: written(time) for phase, time in times.items()}
    if lifecycle.on_stalled is not None:
        table["on_stalled"] = lifecycle.on_stalled
    return table


def problems(kind: str, table: Table) -> Iterator[str]:
    """Yield what is wrong with the table of a kind, each line beginning with the key to change."""
    yield from _wrong_names(kind, table)
    yield from _unknown_phases(kind, table)
    yield from _wrong_steps(kind, table)
    yield from _unreached_phases(kind, table)
    yield from _wrong_times(kind, table)


def _ends(table: Table) -> set[str]:
    """Phases in which there is nothing to wait for, where the table does not say."""
    left = {phase for phase, ends in table.transitions.items() if ends}
    return {*table.success, *table.terminal, *set(table.phases) - left}


def _steps(table: Table) -> Iterator[tuple[str, Edge, str, str]]:
    """Every step of a table, as ``(key, edge, from, to)``."""
    for name, edge in _STEPS:
        for start, ends in getattr(table, name).items():
            for end in ends:
                yield f"{name}.{start}", edge, start, end


_FORM = "a small letter, then at most 31 small letters, digits and underscores"


def wrong_name(kind: str) -> str | None:
    """Return why no kind can be called so, or None."""
    if not re.fullmatch(NAME_PATTERN, kind):
        return f"{shortened(kind)}: a kind is called {_FORM}"
    if kind in PARTS:
        return f"{kind}: it is a part of other keys; give the kind another name"
    return None


def _wrong_names(kind: str, table: Table) -> Iterator[str]:
    for phase in table.phases:
        if not re.fullmatch(NAME_PATTERN, phase):
            yield f"{kind}.phases: {phase!r}: a phase is called {_FORM}"
    twice = {phase for phase in table.phases if table.phases.count(phase) > 1}
    for phase in sorted(twice):
        yield f"{kind}.phases: {phase} stands there twice; remove one of them"
    if len(table.phases) > MOST_PHASES:
        yield f"{kind}.phases: {len(table.phases)} are too many: write at most {MOST_PHASES}"
    if table.retries and table.max_retries is None:
        yield (
            f"{kind}.max_retries: missing; say how often one may be retried (0: never), or list "
            "the steps in restarts instead of retries"
        )


def _unknown_phases(kind: str, table: Table) -> Iterator[str]:
    named = [
        (key, phase)
        for key in ("initial", "success", "terminal", "settled")
        for phase in getattr(table, key) or ()
    ]
    for key, _ in _STEPS:
        for start, ends in getattr(table, key).items():
            named += [(f"{key}.{start}", phase) for phase in (start, *ends)]
    named += [(key, phase) for key in _TIMES for phase in getattr(table, key)]
    if table.on_stalled is not None:
        named.append(("on_stalled", table.on_stalled))
    for key, phase in named:
        if phase not in table.phases:
            there = ", ".join(table.phases)
            yield f"{kind}.{key}: {phase!r} is no {kind} phase; there are {there}"


def _wrong_steps(kind: str, table: Table) -> Iterator[str]:
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


def _unreached_phases(kind: str, table: Table) -> Iterator[str]:
    steps = [(start, end) for _, _, start, end in _steps(table)]
    reached = set(table.initial)
    while found := {end for start, end in steps if start in reached and end not in reached}:
        reached |= found
    for phase in table.phases:
        if phase not in reached:
            yield f"{kind}.transitions: nothing leads to {phase}; add a step to it or begin in it"


def _wrong_times(kind: str, table: Table) -> Iterator[str]:
    for key in _TIMES:
        for phase, time in getattr(table, key).items():
            if time == 0:
                yield f"{kind}.{key}.{phase}: 0 is too short; remove the line for no limit at all"
    for phase in table.stalled:
        if phase in table.terminal:
            yield f"{kind}.stalled.{phase}: nothing is to come after a terminal phase; remove it"
    if table.on_stalled is None:
        return
    if not table.stalled:
        yield f"{kind}.on_stalled: no phase has a limit; give one in {kind}.stalled, or remove it"
    for phase in table.stalled:
        if table.on_stalled not in table.transitions.get(phase, ()):
            yield (
                f"{kind}.on_stalled: {phase} -> {table.on_stalled} is no step of "
                f"{kind}.transitions; add it, or take {phase} out of {kind}.stalled"
            )
