"""Where each phase of a lifecycle stands: a column and a row of a grid.

The way that most take is one line, from left to right. Below it stands what goes wrong, above it
what else there is:

             ┌─ cancelled
pending → running → done
             └─ failed
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from status_tracker.lifecycle import Edge


class Step(Struct, frozen=True):
    """An edge of a lifecycle."""

    start: str
    end: str
    edge: Edge


class Graph(Struct, frozen=True):
    """As much of a lifecycle as its picture depends on: unlike a lifecycle, it can be hashed."""

    phases: tuple[str, ...]
    initial: frozenset[str]
    success: frozenset[str]
    wrong: frozenset[str]
    steps: tuple[Step, ...]


class Cell(Struct, frozen=True):
    """A place in the grid."""

    column: int
    row: int


def cells(graph: Graph) -> dict[str, Cell]:
    """Return the place of each phase, no two in the same one."""
    ahead = _ahead(graph)
    before: dict[str, list[str]] = {phase: [] for phase in graph.phases}
    columns = dict.fromkeys(graph.phases, 0)
    for phase in ahead:
        for end in ahead[phase]:
            before[end].append(phase)
            columns[end] = max(columns[end], columns[phase] + 1)
    line = _main_line(graph, ahead)
    found = {phase: Cell(columns[phase], 0) for phase in line}
    aside = [phase for phase in graph.phases if phase not in found]
    for side, phases in (
        (1, [phase for phase in aside if phase in graph.wrong]),
        (-1, [phase for phase in aside if phase not in graph.wrong]),
    ):
        for phase, row in _stacked(phases, columns, before):
            found[phase] = Cell(columns[phase], side * row)
    return found


def _ahead(graph: Graph) -> dict[str, list[str]]:
    """Return the steps that lead on, without those that close a cycle; its keys are in that order.

    Where no plain step leads to a phase, a retry or restart does.
    """
    index = {phase: number for number, phase in enumerate(graph.phases)}
    plain = _reached(graph)
    leads: dict[str, list[str]] = {phase: [] for phase in graph.phases}
    for step in graph.steps:
        if step.edge is Edge.TRANSITION or step.end not in plain:
            leads[step.start].append(step.end)
    found: dict[str, list[str]] = {}
    finished: list[str] = []

    def walk(phase: str) -> None:
        found[phase] = []
        for end in sorted(leads[phase], key=index.__getitem__):
            if end not in found:
                walk(end)
            if end in finished:
                found[phase].append(end)
        finished.append(phase)

    for phase in sorted(graph.phases, key=lambda each: each not in graph.initial):
        if phase not in found:
            walk(phase)
    return {phase: found[phase] for phase in reversed(finished)}


def _reached(graph: Graph) -> set[str]:
    """Return the phases that plain steps lead to."""
    found = set(graph.initial)
    while more := {
        step.end
        for step in graph.steps
        if step.edge is Edge.TRANSITION and step.start in found and step.end not in found
    }:
        found |= more
    return found


def _main_line(graph: Graph, ahead: Mapping[str, list[str]]) -> list[str]:
    """Return the way with most successes on it, of these the longest, and past nothing wrong."""
    calm = [phase for phase in ahead if phase not in graph.wrong] or list(ahead)
    ways: dict[str, tuple[int, int, str | None]] = {}
    for phase in reversed(calm):
        nexts = [end for end in ahead[phase] if end in ways]
        # The first one of those that are as good: people read the phases in that order.
        best = max(nexts, key=lambda end: ways[end][:2], default=None)
        successes, length, _ = ways[best] if best else (0, 0, None)
        ways[phase] = (successes + (phase in graph.success), length + 1, best)
    starts = [phase for phase in graph.phases if phase in graph.initial and phase in ways] or calm
    at: str | None = max(starts, key=lambda phase: ways[phase][:2])
    found = []
    while at is not None:
        found.append(at)
        at = ways[at][2]
    return found


def _stacked(
    phases: Iterable[str], columns: Mapping[str, int], before: Mapping[str, list[str]]
) -> Iterator[tuple[str, int]]:
    """Yield the row of each, from 1: it has the row to itself from where steps come to it.

    So the lines from all over the picture to one phase become one line. Short ones stand nearest.
    """
    begins = {
        phase: min((columns[each] for each in before[phase]), default=columns[phase])
        for phase in phases
    }
    owners: dict[tuple[int, int], str] = {}

    def fits(phase: str, row: int) -> bool:
        """Tell whether nothing stands there but, on the way, what it comes from."""
        here = [owners.get((column, row)) for column in range(begins[phase], columns[phase] + 1)]
        return here[-1] is None and all(each is None or each in before[phase] for each in here)

    for phase in sorted(begins, key=lambda each: (columns[each] - begins[each], columns[each])):
        row = next(row for row in itertools.count(1) if fits(phase, row))
        for column in range(begins[phase], columns[phase] + 1):
            owners[column, row] = phase
        yield phase, row
