"""Which way each step of a lifecycle takes through the grid: past the phases, never through one.

Steps run along lines. Between two rows, and between two columns, there is room for as many as are
needed; a row without phases is a line, too. Steps that mean the same share a line: those forward to
one phase, and those back from one phase.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from status_tracker.dashboard.diagram.placing import Cell, Step
from status_tracker.lifecycle import Edge


class Line(Struct, frozen=True):
    """What a part of a step runs along."""

    axis: Literal["row", "channel", "face", "gap"]
    """`row`: through the middle of one. `channel`: above a row. `face`: out of the upper side of a
    phase, or below the last one of a column. `gap`: left of a column."""
    at: int
    """Its row; the column of a gap; of a face, how many phases of its column stand above it."""
    column: int = 0
    """Of a face."""

    @property
    def is_flat(self) -> bool:
        """Whether it runs from side to side."""
        return self.axis in ("row", "channel")


class Group(Struct, frozen=True):
    """Steps that share lines."""

    edge: Edge
    phase: str


class Route(Struct, frozen=True):
    """The way of a step: flat and upright lines in turn."""

    step: Step
    group: Group
    lines: tuple[Line, ...]


class Grid:
    """What stands where, and which rows are taken."""

    def __init__(self, cells: Mapping[str, Cell]) -> None:
        self._cells = cells
        self._taken = set(cells.values())
        self._columns: dict[int, list[int]] = {}
        for cell in sorted(cells.values(), key=lambda each: each.row):
            self._columns.setdefault(cell.column, []).append(cell.row)
        self._runs: list[tuple[int, range, set[str]]] = []
        """Row, where in it, and the phases where others who run there may join or leave. A column
        is at its number times two, the room to the right of it at one more."""

    def route(self, step: Step) -> Route:
        """Return the way that a step takes: the first one that is free."""
        start, end = self._cells[step.start], self._cells[step.end]
        is_plain = step.edge is Edge.TRANSITION
        lines = self._along(step, start, end) if is_plain and end.column > start.column else None
        lines = lines or self._arc(start, end) or self._between(start, end)
        return Route(step, Group(step.edge, step.end if is_plain else step.start), tuple(lines))

    def _along(self, step: Step, start: Cell, end: Cell) -> Sequence[Line] | None:
        """Straight on, or with one turn: along the row of one of the two."""
        left, right = 2 * start.column, 2 * end.column
        if start.row == end.row:
            is_free = self._row_is_free(start.row, range(start.column + 1, end.column))
            if is_free and self._run(start.row, range(left + 1, right), {step.start, step.end}):
                return [Line("row", start.row)]
            return None
        down = end.row > start.row
        if (
            self._row_is_free(end.row, range(start.column, end.column))
            and self._column_is_free(start.column, start.row, end.row)
            and self._run(end.row, range(left, right), {step.end})
        ):
            return [self._face(start, below=down), Line("row", end.row)]
        if (
            self._row_is_free(start.row, range(start.column + 1, end.column + 1))
            and self._column_is_free(end.column, start.row, end.row)
            and self._run(start.row, range(left + 1, right + 1), {step.start})
        ):
            return [Line("row", start.row), self._face(end, below=not down)]
        return None

    def _arc(self, start: Cell, end: Cell) -> Sequence[Line] | None:
        """Around the outside of what lies between; from the middle row, back below it."""
        is_back = end.column <= start.column
        if start.row > 0 or (start.row == 0 and is_back):
            below, channel, is_inside = True, start.row + 1, end.row <= start.row
        else:
            below, channel, is_inside = False, start.row, end.row >= start.row
        if is_inside and self._column_is_free(end.column, end.row, channel - (not below)):
            return self._over(start, end, channel, below, below)
        return None

    def _between(self, start: Cell, end: Cell) -> Sequence[Line]:
        """Between rows, and where a column is in the way, between columns."""
        below = end.row > start.row
        out, into = (start.row + 1, end.row) if below else (start.row, end.row + 1)
        if self._column_is_free(end.column, end.row, start.row):
            return self._over(start, end, out, below, not below)
        if self._column_is_free(start.column, start.row, end.row):
            return self._over(start, end, into, below, not below)
        gap = end.column if end.column > start.column else end.column + 1
        return [
            self._face(start, below=below),
            Line("channel", out),
            Line("gap", gap),
            Line("channel", into),
            self._face(end, below=not below),
        ]

    def _over(
        self, start: Cell, end: Cell, channel: int, out_below: bool, in_below: bool
    ) -> Sequence[Line]:
        return [
            self._face(start, below=out_below),
            Line("channel", channel),
            self._face(end, below=in_below),
        ]

    def _face(self, cell: Cell, *, below: bool) -> Line:
        return Line("face", self._columns[cell.column].index(cell.row) + below, cell.column)

    def _row_is_free(self, row: int, columns: range) -> bool:
        return not any(Cell(column, row) in self._taken for column in columns)

    def _column_is_free(self, column: int, one: int, other: int) -> bool:
        """Tell whether nothing stands between two rows."""
        low, high = sorted((one, other))
        return not any(Cell(column, row) in self._taken for row in range(low + 1, high))

    def _run(self, row: int, part: range, meets: set[str]) -> bool:
        """Take a part of a row, unless steps that meet elsewhere run there."""
        for taken_row, taken, others in self._runs:
            overlaps = taken.start < part.stop and part.start < taken.stop
            if taken_row == row and overlaps and not others & meets:
                return False
        self._runs.append((row, part, meets))
        return True
