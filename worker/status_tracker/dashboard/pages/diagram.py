"""A lifecycle as a diagram, with how many are where."""

from collections.abc import Mapping

from markupsafe import Markup

from status_tracker.dashboard.diagram.layout import picture
from status_tracker.dashboard.diagram.placing import Graph, Step
from status_tracker.dashboard.pages.phases import tone_of
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


def graph_of(life: Lifecycle) -> Graph:
    """Return what is to be drawn of a lifecycle."""
    return Graph(
        phases=life.phases,
        initial=life.initial,
        success=life.success,
        wrong=frozenset(each for each in life.phases if tone_of(life, each) == "wrong"),
        steps=tuple(
            Step(start, end, edge)
            for start in life.phases
            for end, edge in sorted(life.edges[start].items(), key=lambda to: to[0])
        ),
    )


def _leads(life: Lifecycle, phase: str) -> str:
    """Say where steps go from a phase."""
    said = {
        Edge.TRANSITION: "leads to",
        Edge.RETRY: "a retry leads to",
        Edge.RESTART: "a restart leads to",
    }
    parts = []
    for edge, words in said.items():
        ends = [end for end in life.phases if life.edges[phase].get(end) is edge]
        if ends:
            parts.append(f"{words} {', '.join(ends)}")
    begins = ["one may begin here"] if phase in life.initial else []
    return "; ".join([*begins, *parts]) or "nothing leaves it"
