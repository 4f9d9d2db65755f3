"""Deployments to try properties on: the shipped rules, and valid ones made at random."""

from collections.abc import Iterator
from typing import NamedTuple

from hypothesis import strategies as st
from status_tracker.rules import Rules, parse_rules

from tests.line import RULES
from tests.model import KINDS
from tests.wire import Document

LIMITS = {"max_clock_skew": "60s", "clock_skew": "1s", "max_event_bytes": "64KiB"}


class Deployment(NamedTuple):
    """The same rules, for the worker and for the model."""

    rules: Rules
    kinds: dict[str, Document]


SHIPPED = Deployment(RULES, KINDS)

# Few of them, so that a stream comes around in them; a kind is called as a shipped one is.
PHASES = ["on", "on2", "waiting", "off", "p_5"]
KIND_NAMES = ["task", "task2", "export"]
EDGES = [None, None, None, "transitions", "transitions", "transitions", "retries", "restarts"]


class Draft(NamedTuple):
    """What a kind is made of, before it is made to work."""

    phases: int
    edges: list[str | None]
    """For each phase in turn, how it leads to each."""
    initial: str
    success: frozenset[str]
    terminal: frozenset[str]
    max_retries: int | None
    stalled: dict[str, str]
    retention: dict[str, str]


_times = st.dictionaries(st.sampled_from(PHASES), st.sampled_from(["1s", "5m", "36h"]), max_size=2)
_drafts = st.builds(
    Draft,
    phases=st.integers(1, len(PHASES)),
    edges=st.lists(st.sampled_from(EDGES), min_size=len(PHASES) ** 2, max_size=len(PHASES) ** 2),
    initial=st.sampled_from(PHASES),
    success=st.frozensets(st.sampled_from(PHASES), max_size=2),
    terminal=st.frozensets(st.sampled_from(PHASES), max_size=2),
    max_retries=st.sampled_from([None, 0, 1, 2]),
    stalled=_times,
    retention=_times,
)


def _table(draft: Draft) -> Document:
    """Return the table of a kind that works: what cannot stand in one is left out of the draft."""
    phases = PHASES[: draft.phases]
    table: Document = {
        "phases": phases,
        "initial": [draft.initial if draft.initial in phases else phases[0]],
        "success": [phase for phase in phases if phase in draft.success],
        "terminal": [phase for phase in phases if phase in draft.terminal],
        "transitions": {},
        "stalled": {
            phase: time
            for phase, time in draft.stalled.items()
            if phase in phases and phase not in draft.terminal
        },
        "retention": {p: time for p, time in draft.retention.items() if p in phases},
    }
    if draft.max_retries is not None:
        table["max_retries"] = draft.max_retries
    for start, end, edge in _edges(draft, table):
        table.setdefault(edge, {}).setdefault(start, []).append(end)
    for phase in phases:
        if phase not in _reached(table):
            table["initial"].append(phase)
    return table


def _edges(draft: Draft, table: Document) -> Iterator[tuple[str, str, str]]:
    phases = table["phases"]
    steps = [(start, end) for start in PHASES for end in PHASES]
    for (start, end), edge in zip(steps, draft.edges, strict=True):
        if edge is None or not {start, end} <= set(phases):
            continue
        if start != end and start not in table["terminal"]:
            counts = edge != "retries" or "max_retries" in table
            yield start, end, edge if counts else "restarts"


def _reached(table: Document) -> set[str]:
    reached: set[str] = set()
    found = set(table["initial"])
    while found:
        reached |= found
        found = {end for start in reached for end in following(table, start)} - reached
    return reached


def following(table: Document, phase: str) -> list[str]:
    """Return where steps of a kind lead; retries twice, or few lives would come to their limit."""
    names = ("transitions", "retries", "retries", "restarts")
    return [end for name in names for end in table.get(name, {}).get(phase, [])]


def _deployment(drafts: list[Draft], history: int) -> Deployment:
    kinds = {name: _table(draft) for name, draft in zip(KIND_NAMES, drafts, strict=False)}
    return Deployment(parse_rules({**LIMITS, "history": history, **kinds}), kinds)


RANDOM = st.builds(
    _deployment,
    st.lists(_drafts, min_size=1, max_size=len(KIND_NAMES)),
    st.sampled_from([0, 1, 3]),
)
"""Rules that `parse_rules` takes: it raises for any others."""

DEPLOYMENTS = st.just(SHIPPED) | RANDOM
