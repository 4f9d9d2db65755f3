"""A lifecycle as a picture: where its phases are, and the path of each step, in units of SVG."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from status_tracker.dashboard.diagram.placing import Cell, Graph, cells
from status_tracker.dashboard.diagram.routing import Grid, Group, Line, Route
from status_tracker.lifecycle import Edge

HEIGHT = 46
"""Of a box."""
NARROWEST, WIDEST = 104, 172
LETTER = 7.2
"""How wide a letter of a name is taken to be."""
MOST_LETTERS = 18
BESIDE = 40
"""What a box has beside its name."""
EDGE = 14.5
"""Around the picture. With the half, lines one wide fill pixels: no less where two lie together."""
BETWEEN_COLUMNS, BETWEEN_ROWS = 46, 30
"""What is free where no line runs."""
TURN = 20
"""From a box to the first line beside it: there a corner and an arrowhead find room."""
LANE = 12
"""From a line to the next one."""
ROUND = 7
"""The radius of a corner."""


class Box(Struct, frozen=True):
    """A phase."""

    phase: str
    label: str
    x: float
    y: float


class Arrow(Struct, frozen=True):
    """A step."""

    start: str
    end: str
    edge: Edge
    path: str


class Picture(Struct, frozen=True):
    """All of it."""

    width: float
    height: float
    box_width: float
    box_height: float
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


class Point(NamedTuple):
    """A place in the picture."""

    x: float
    y: float


@lru_cache(maxsize=64)
def picture(graph: Graph) -> Picture:
    """Return how a lifecycle is drawn: always the same for the same one."""
    places = cells(graph)
    grid = Grid(places)
    routes = [grid.route(step) for step in graph.steps]
    return _Drawing(graph, places, routes).picture()


def shortened(phase: str) -> str:
    """Return a name that fits into a box."""
    return phase if len(phase) <= MOST_LETTERS else phase[: MOST_LETTERS - 1] + "…"


class _Use(NamedTuple):
    """A line that steps of a group run along."""

    line: Line
    group: Group


class _Span(Struct):
    """How far a line goes, in columns or rows, and to which sides others leave it."""

    low: float
    high: float
    before: bool = False
    """Upwards."""
    after: bool = False
    """Downwards."""


class _Turn(NamedTuple):
    """Where a line out of a box turns: along another line, to the left or to the right."""

    box: Cell
    along: _Use
    to: float
    """The column where that one goes."""


class _Drawing:
    """The coordinates of a grid: rows first, as the order of lines out of a box depends on them."""

    def __init__(self, graph: Graph, places: Mapping[str, Cell], routes: Sequence[Route]) -> None:
        self._graph, self._places, self._routes = graph, places, routes
        longest = max(len(shortened(phase)) for phase in graph.phases)
        self._width = min(WIDEST, max(NARROWEST, 2 * round((BESIDE + LETTER * longest) / 2)))
        self._spans: dict[_Use, _Span] = {}
        self._turns: dict[_Use, _Turn] = {}
        self._at: dict[_Use, float] = {}
        """y of what is flat, x of what is upright."""
        self._rows: dict[int, float] = {}
        self._columns: dict[int, float] = {}
        """Where their boxes begin."""
        for route in routes:
            self._spread(route)

    def picture(self) -> Picture:
        """Return all of it."""
        height = self._set_rows()
        width = self._set_columns()
        self._set_faces()
        boxes = [
            Box(phase, shortened(phase), self._columns[cell.column], self._rows[cell.row])
            for phase, cell in ((each, self._places[each]) for each in self._graph.phases)
        ]
        arrows = [
            Arrow(each.step.start, each.step.end, each.step.edge, rounded(self._points(each)))
            for each in self._routes
        ]
        return Picture(width, height, self._width, HEIGHT, tuple(boxes), tuple(arrows))

    def _spread(self, route: Route) -> None:
        """Note how far its lines go, from what they meet before and after."""
        start, end = self._places[route.step.start], self._places[route.step.end]
        chain: list[Cell | Line] = [start, *route.lines, end]
        for number, line in enumerate(route.lines, 1):
            use = _Use(line, route.group)
            along = _column if line.is_flat else _row
            near = along(chain[number - 1]), along(chain[number + 1])
            span = self._spans.setdefault(use, _Span(near[0], near[0]))
            span.low, span.high = min(span.low, *near), max(span.high, *near)
            if line.axis == "channel":
                rows = _row(chain[number - 2]), _row(chain[number + 2])
                span.before |= min(rows) < _row(line)
                span.after |= max(rows) > _row(line)
            elif line.axis == "face" and number == 1:
                along_next = _Use(route.lines[1], route.group)
                self._turns.setdefault(use, _Turn(start, along_next, _column(chain[3])))
            elif line.axis == "face":
                along_last = _Use(route.lines[-2], route.group)
                self._turns.setdefault(use, _Turn(end, along_last, _column(chain[-4])))

    def _set_rows(self) -> float:
        """Set y of all rows and flat lines; return the height of the picture."""
        y = EDGE
        last = max(cell.row for cell in self._places.values()) + 1
        for row in range(min(cell.row for cell in self._places.values()), last + 1):
            uses = [use for use in self._spans if use.line == Line("channel", row)]
            upper = self._lanes(use for use in uses if self._spans[use].before)
            lower = self._lanes(use for use in uses if not self._spans[use].before)
            above, below = _count(upper), _count(lower)
            is_outer = not self._rows
            first = y + (0 if is_outer else TURN)
            for use in uses:
                lane = upper[use] if use in upper else above + below - 1 - lower[use]
                self._at[use] = first + LANE * lane
            if above + below:
                y = first + LANE * (above + below - 1) + (0 if row == last else TURN)
            elif not is_outer and row != last:
                y += BETWEEN_ROWS
            if row != last:
                self._rows[row] = y
                y += HEIGHT
        for use in self._spans:
            if use.line.axis == "row":
                self._at[use] = self._rows[use.line.at] + HEIGHT / 2
        return y + EDGE

    def _set_columns(self) -> float:
        """Set x of all columns and of the lines between them; return the width of the picture."""
        x = EDGE
        last = max(cell.column for cell in self._places.values()) + 1
        for column in range(last + 1):
            uses = [use for use in self._spans if use.line == Line("gap", column)]
            lanes = self._lanes(uses)
            for use in uses:
                self._at[use] = x + BETWEEN_COLUMNS / 2 + LANE * lanes[use]
            if uses or 0 < column < last:
                x += BETWEEN_COLUMNS + LANE * max(0, _count(lanes) - 1)
            if column != last:
                self._columns[column] = x
                x += self._width
        return x + EDGE

    def _lanes(self, uses: Iterable[_Use]) -> dict[_Use, int]:
        """Give each a lane, so that none overlap: the shortest come first."""
        found: dict[_Use, int] = {}
        for use in sorted(uses, key=self._length):
            span = self._spans[use]
            taken = {
                lane
                for other, lane in found.items()
                if self._spans[other].low <= span.high and span.low <= self._spans[other].high
            }
            found[use] = next(lane for lane in range(len(found) + 1) if lane not in taken)
        return found

    def _length(self, use: _Use) -> float:
        return self._spans[use].high - self._spans[use].low

    def _set_faces(self) -> None:
        """Set x of the lines that leave and enter boxes, in an order in which few of them cross."""
        faces: dict[Line, list[_Use]] = {}
        for use in self._turns:
            faces.setdefault(use.line, []).append(use)
        for line, uses in faces.items():
            uses.sort(key=self._order)
            apart = min(LANE + 2, (self._width - 2 * ROUND) / len(uses))
            apart = max(apart // 1, apart % 1)  # whole, unless there are more than pixels
            first = self._columns[line.column] + (self._width - apart * (len(uses) - 1)) // 2
            for number, use in enumerate(uses):
                self._at[use] = first + apart * number

    def _order(self, use: _Use) -> tuple[int, float, int]:
        """What goes left stands on the left, and outside of it what turns nearer to the box."""
        turn = self._turns[use]
        span = self._spans[turn.along]
        side = (span.high > turn.box.column) - (span.low < turn.box.column)
        away = abs(self._at[turn.along] - self._rows[turn.box.row] - HEIGHT / 2)
        own = (turn.to > turn.box.column) - (turn.to < turn.box.column)
        return side, -side * away, own

    def _points(self, route: Route) -> list[Point]:
        """Return where a step begins, turns and ends."""
        at = [self._at[_Use(line, route.group)] for line in route.lines]
        flat = [line.is_flat for line in route.lines]
        turns = [
            Point(at[number + 1], at[number]) if flat[number] else Point(at[number], at[number + 1])
            for number in range(len(at) - 1)
        ]
        start, end = self._places[route.step.start], self._places[route.step.end]
        first = self._side(start, route.lines[0], at[0], turns[0] if turns else None, -1)
        last = self._side(end, route.lines[-1], at[-1], turns[-1] if turns else None, 1)
        return [first, *turns, last]

    def _side(self, cell: Cell, line: Line, at: float, turn: Point | None, way: int) -> Point:
        """Return the place on the side of a box where a step leaves (way -1) or enters it (1)."""
        x, y = self._columns[cell.column], self._rows[cell.row]
        if line.is_flat:
            return Point(x if way == 1 else x + self._width, at)
        return Point(at, y if turn is not None and turn.y < y else y + HEIGHT)


def _column(place: Cell | Line) -> float:
    if isinstance(place, Cell) or place.axis == "face":
        return place.column
    return place.at - 0.5


def _row(place: Cell | Line) -> float:
    if isinstance(place, Cell):
        return place.row
    return place.at - 0.5 if place.axis == "channel" else place.at


def _count(lanes: Mapping[_Use, int]) -> int:
    return max(lanes.values(), default=-1) + 1


def rounded(points: Sequence[Point]) -> str:
    """Return a path through points, with round corners."""
    found = [f"M{_xy(points[0])}"]
    for before, at, after in zip(points, points[1:], points[2:], strict=False):
        size = min(ROUND, math.dist(before, at) / 2, math.dist(at, after) / 2)
        if size < 0.5:
            found.append(f"L{_xy(at)}")
        else:
            bend, leave = _toward(at, before, size), _toward(at, after, size)
            found.append(f"L{_xy(bend)}Q{_xy(at)} {_xy(leave)}")
    return "".join([*found, f"L{_xy(points[-1])}"])


def _toward(at: Point, to: Point, size: float) -> Point:
    share = size / math.dist(at, to)
    return Point(at.x + (to.x - at.x) * share, at.y + (to.y - at.y) * share)


def _xy(point: Point) -> str:
    return f"{point.x:.1f} {point.y:.1f}"
