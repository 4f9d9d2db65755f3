"""The diagram of a lifecycle: all of it is there, nothing hides anything, for any lifecycle."""

import re
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from status_tracker.dashboard.diagram.layout import Arrow, Box, Picture, picture
from status_tracker.dashboard.diagram.placing import Graph, Step, cells
from status_tracker.dashboard.pages.diagram import diagram, graph_of
from status_tracker.dashboard.pages.rendering import Looks
from status_tracker.lifecycle import MOST_PHASES, Edge
from status_tracker.rules import Rules, load_rules

RULES = load_rules(Path(__file__).parents[2] / "config/rules.toml")
SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any phases with any steps between them: also such as the rules refuse."""
    phases = [f"p{number}" for number in range(draw(st.integers(1, 12)))]
    some = st.frozensets(st.sampled_from(phases))
    pairs = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(phases), st.sampled_from(phases)).filter(
                lambda pair: pair[0] != pair[1]
            ),
            st.sampled_from(Edge),
            max_size=40,
        )
    )
    steps = tuple(Step(start, end, edge) for (start, end), edge in pairs.items())
    return Graph(tuple(phases), draw(some), draw(some), draw(some), steps)


def chain(edge: Edge, count: int = MOST_PHASES) -> Graph:
    """As many phases as there may be, each with a step to the next one, the last to the first."""
    phases = tuple(f"p{number}" for number in range(count))
    steps = tuple(
        Step(start, end, edge) for start, end in zip(phases, (*phases[1:], "p0"), strict=True)
    )
    return Graph(phases, frozenset({"p0"}), frozenset({phases[-1]}), frozenset(), steps)


def full(count: int) -> Graph:
    """Each phase leads to each other one."""
    phases = tuple(f"p{number}" for number in range(count))
    steps = tuple(
        Step(start, end, Edge.TRANSITION) for start in phases for end in phases if start != end
    )
    return Graph(phases, frozenset(phases), frozenset(), frozenset(), steps)


CASES = {
    "task": graph_of(RULES.kinds["task"]),
    "asset": graph_of(RULES.kinds["asset"]),
    "one": Graph(("only",), frozenset({"only"}), frozenset(), frozenset(), ()),
    "all wrong": Graph(("a", "b"), frozenset({"a"}), frozenset(), frozenset({"a", "b"}), ()),
    "64 in a row": chain(Edge.TRANSITION),
    "64 by retries": chain(Edge.RETRY),
    "64 alone": msgspec.structs.replace(chain(Edge.TRANSITION), steps=()),
    "each to each": full(24),
}


@pytest.mark.parametrize("graph", CASES.values(), ids=CASES)
def test_pictures_that_are_known(graph: Graph) -> None:
    """Those that ship, and those at the limits of what the rules allow."""
    is_sound(graph, picture(graph))


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_any_picture(graph: Graph) -> None:
    """A diagram that leaves out a step, or draws it through a phase, says what is not so."""
    is_sound(graph, picture(graph))


def is_sound(graph: Graph, drawn: Picture) -> None:
    """Fail where something is missing, hidden, cut off, or crosses a phase."""
    assert [box.phase for box in drawn.boxes] == list(graph.phases)
    arrows = [Step(arrow.start, arrow.end, arrow.edge) for arrow in drawn.arrows]
    assert arrows == list(graph.steps)
    for one, other in combinations(drawn.boxes, 2):
        apart = abs(one.x - other.x) > drawn.box_width or abs(one.y - other.y) > drawn.box_height
        assert apart, (one, other)
    for box in drawn.boxes:
        assert 0 < box.x < drawn.width - drawn.box_width
        assert 0 < box.y < drawn.height - drawn.box_height
    for arrow in drawn.arrows:
        points = points_of(arrow.path)
        assert all(0 < x < drawn.width and 0 < y < drawn.height for x, y in points)
        for (x1, y1), (x2, y2) in pairwise(points):
            for box in drawn.boxes:
                inside = (
                    max(x1, x2) > box.x
                    and min(x1, x2) < box.x + drawn.box_width
                    and max(y1, y2) > box.y
                    and min(y1, y2) < box.y + drawn.box_height
                )
                assert not inside, (arrow, box)
        ends = {box.phase: box for box in drawn.boxes}
        assert touches(points[0], ends[arrow.start], drawn), arrow
        assert touches(points[-1], ends[arrow.end], drawn), arrow


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_steps_that_differ_share_no_line(graph: Graph) -> None:
    """Where they would, nobody could tell which of the two goes where."""

    def meaning(step: Arrow) -> tuple[Edge, str]:
        return step.edge, step.end if step.edge is Edge.TRANSITION else step.start

    arrows = [(each, list(pairwise(points_of(each.path)))) for each in picture(graph).arrows]
    for (one, ways), (other, others) in combinations(arrows, 2):
        is_fork = (one.edge, one.start) == (other.edge, other.start)
        if meaning(one) != meaning(other) and not is_fork:
            shared = [(way, its) for way in ways for its in others if share(way, its)]
            assert not shared, (one, other)


Way = tuple[tuple[float, float], tuple[float, float]]


def share(one: Way, other: Way) -> bool:
    """Tell whether two straight lines lie on each other, and not only cross."""

    def along(axis: int) -> bool:
        fixed = {point[1 - axis] for way in (one, other) for point in way}
        starts = [min(way[0][axis], way[1][axis]) for way in (one, other)]
        ends = [max(way[0][axis], way[1][axis]) for way in (one, other)]
        return len(fixed) == 1 and min(ends) - max(starts) > 0.5

    return along(0) or along(1)


def points_of(path: str) -> list[tuple[float, float]]:
    """Return the places that a path goes through or bends towards."""
    numbers = [float(each) for each in re.findall(r"-?\d+\.\d", path)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def touches(point: tuple[float, float], box: Box, drawn: Picture) -> bool:
    """Tell whether a place is on the outline of a box."""
    x, y = point[0] - box.x, point[1] - box.y
    on_side = x in (0, drawn.box_width) and 0 < y < drawn.box_height
    return on_side or (y in (0, drawn.box_height) and 0 < x < drawn.box_width)


@settings(max_examples=20, deadline=None)
@given(graphs())
def test_it_is_always_the_same(graph: Graph) -> None:
    """Another process, or another order of the same steps in a file, moves no box."""
    mirrored = msgspec.structs.replace(graph, steps=graph.steps[::-1])
    assert picture.__wrapped__(graph) == picture(graph)
    assert cells(mirrored) == cells(graph)


def test_the_usual_way_is_one_line() -> None:
    """What people look for first: the way to success, straight on, and failures below it."""
    for kind, way in (
        ("task", ["pending", "waiting", "running", "completed"]),
        ("asset", ["uploading", "waiting", "processing", "ready", "deleting", "deleted"]),
    ):
        boxes = {box.phase: box for box in picture(graph_of(RULES.kinds[kind])).boxes}
        xs = [boxes[phase].x for phase in way]
        assert xs == sorted(xs)
        assert len({boxes[phase].y for phase in way}) == 1
        assert boxes["failed"].y > boxes[way[0]].y


def drawn(rules: Rules, kind: str, counts: dict[str, int]) -> ElementTree.Element:
    """Return what a browser gets, as a tree."""
    html = str(diagram(rules.kinds[kind], counts, Looks(rules), kind))
    xml = html.replace("<svg", f'<svg xmlns="{SVG[1:-1]}"')
    return ElementTree.fromstring(f"<div>{xml}</div>")  # noqa: S314 (our own)


def test_each_phase_is_a_link_with_its_count() -> None:
    """A screen reader says what is where; a click shows them; all of it under a strict CSP."""
    life = RULES.kinds["task"]
    tree = drawn(RULES, "task", dict.fromkeys(life.phases, 0) | {"running": 1234})
    links = {link.get("href"): link for link in tree.iter(f"{SVG}a")}
    assert list(links) == [f"kind?kind=task&phase={phase}" for phase in life.phases]
    running = links["kind?kind=task&phase=running"]
    assert running.get("aria-label") == "running: 1,234"
    assert [text.text for text in running.iter(f"{SVG}text")] == ["running", "1,234"]
    title = running.find(f"{SVG}title")
    assert title is not None
    assert title.text == "running: leads to failed, completed, cancelled; a retry leads to waiting"
    assert not [each for each in tree.iter() if "style" in each.attrib]
    steps = [each for each in tree.iter(f"{SVG}path") if "step" in each.get("class", "").split()]
    legend = 3
    assert len(steps) == sum(map(len, life.edges.values())) + legend


def test_the_legend_has_what_the_kind_has() -> None:
    """Assets have no retries, and nobody is to look for one."""
    legend = drawn(RULES, "asset", dict.fromkeys(RULES.kinds["asset"].phases, 0)).find("p")
    assert legend is not None
    assert [each.strip() for each in legend.itertext() if each.strip()] == [
        "step",
        "restart: count back at 0",
    ]


def test_names_are_text() -> None:
    """The rules allow no such names; the page does not depend on that. Long ones are cut."""
    hostile = '<script>alert("&")</script>' + "x" * 40
    life = msgspec.structs.replace(
        RULES.kinds["task"], phases=(hostile,), edges={hostile: {}}, initial=frozenset({hostile})
    )
    rules = msgspec.structs.replace(RULES, kinds={"task": life})
    tree = drawn(rules, "task", {hostile: 1})
    link = next(tree.iter(f"{SVG}a"))
    assert link.get("aria-label") == f"{hostile}: 1"
    assert [text.text for text in link.iter(f"{SVG}text")] == ['<script>alert("&"…', "1"]
