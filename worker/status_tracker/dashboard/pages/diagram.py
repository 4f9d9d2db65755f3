"""A lifecycle as a diagram, with how many are where."""

from collections.abc import Mapping

from markupsafe import Markup

from status_tracker.dashboard.pages.layout import picture
from status_tracker.dashboard.pages.placing import graph_of
from status_tracker.dashboard.pages.rendering import Looks, macros
from status_tracker.lifecycle import Edge, Lifecycle


def diagram(life: Lifecycle, counts: Mapping[str, int], looks: Looks, kind: str) -> Markup:
    """Return it as SVG, with a legend."""
    graph = graph_of(life)
    there = {step.edge for step in graph.steps}
    edges = [edge.value for edge in Edge if edge in there]
    leads = {phase: _leads(life, phase) for phase in life.phases}
    draw = macros("diagram.html").diagram
    drawn: Markup = draw(picture(graph), counts, looks, kind, edges, leads)
    return drawn


def _leads(life: Lifecycle, phase: str) -> str:
    """Say where steps go from a phase."""
    said = {
        Edge.TRANSITION: "leads to",
        Edge.RETRY: "is retried from",
        Edge.RESTART: "is restarted from",
    }
    parts = []
    for edge, words in said.items():
        ends = [end for end in life.phases if life.edges[phase].get(end) is edge]
        if ends:
            parts.append(f"{words} {', '.join(ends)}")
    return "; ".join(parts) or "nothing leaves it"
