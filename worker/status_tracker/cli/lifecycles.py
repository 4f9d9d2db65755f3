"""Rules as tables and as diagrams."""

from collections.abc import Iterator

import click
from rich.console import Console
from rich.table import Table

from status_tracker.lifecycle import Edge, Lifecycle
from status_tracker.rules import Rules


def show_tables(console: Console, rules: Rules) -> None:
    """Print each kind as a table: a row for each phase."""
    for kind, lifecycle in rules.kinds.items():
        console.print(table(kind, lifecycle))


def show_diagrams(rules: Rules) -> None:
    """Print each kind as a Mermaid diagram, fenced for Markdown."""
    for kind, lifecycle in rules.kinds.items():
        click.echo("\n".join(diagram(kind, lifecycle)))


def table(kind: str, lifecycle: Lifecycle) -> Table:
    """Return a lifecycle as a table: a row for each phase."""
    most = lifecycle.max_retries
    retries = "" if most is None else f"; at most {most} retries"
    shown = Table(title=f"{kind}: begins in {_names(lifecycle)}{retries}")
    shown.add_column("phase", style="bold")
    used = {edge for ends in lifecycle.edges.values() for edge in ends.values()}
    edges = [edge for edge in Edge if edge in used]
    for edge in edges:
        shown.add_column(f"{edge.value} to")
    shown.add_column("is")
    for phase in lifecycle.phases:
        kinds = [
            name for name in ("success", "terminal", "settled") if phase in getattr(lifecycle, name)
        ]
        ends = lifecycle.edges[phase]
        columns = [", ".join(end for end, found in ends.items() if found is edge) for edge in edges]
        shown.add_row(phase, *columns, ", ".join(kinds))
    return shown


def diagram(kind: str, lifecycle: Lifecycle) -> Iterator[str]:
    """Yield a lifecycle as the lines of a Mermaid diagram, fenced for Markdown."""
    yield "```mermaid"
    yield "---"
    yield f"title: {kind}"
    yield "---"
    yield "stateDiagram-v2"
    for phase in lifecycle.phases:
        if phase in lifecycle.initial:
            yield f"    [*] --> {phase}"
    for start, ends in lifecycle.edges.items():
        for end, edge in ends.items():
            label = "" if edge is Edge.TRANSITION else f": {edge.value}"
            yield f"    {start} --> {end}{label}"
    for phase in lifecycle.phases:
        if phase in lifecycle.terminal:
            yield f"    {phase} --> [*]"
    yield "```"


def _names(lifecycle: Lifecycle) -> str:
    return " or ".join(phase for phase in lifecycle.phases if phase in lifecycle.initial)
