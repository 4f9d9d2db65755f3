"""The lines of the rates: coordinates of a picture of 600 by 120."""

from collections.abc import Iterable

from msgspec import Struct

from status_tracker.dashboard.seen import GAP, SPAN, Rate

WIDTH, HEIGHT, TOP = 600, 119, 10


class Lines(Struct, frozen=True):
    """A stretch without a gap, as SVG has points."""

    updates: str
    rejected: str


class Chart(Struct, frozen=True):
    """What is drawn, and the numbers beside it."""

    updates: float | None
    """Those of now, a second; None where that was not seen yet."""
    rejected: float | None
    most: float
    """A second, at the top of the picture."""
    span: int
    """Milliseconds that it shows."""
    lines: list[Lines]


def chart(rates: Iterable[Rate], now: int) -> Chart:
    """Return the picture of rates, of which there may be none."""
    found = list(rates)
    most = _round(max((each.updates for each in found), default=0))
    last = found[-1] if found and now - found[-1].at < GAP else None
    stretches: list[list[Rate]] = []
    for each in found:
        if not stretches or each.at - stretches[-1][-1].at > GAP:
            stretches.append([])
        stretches[-1].append(each)

    def points(some: Iterable[tuple[int, float]]) -> str:
        return " ".join(
            f"{WIDTH * (1 - (now - at) / SPAN):.1f},{HEIGHT - (HEIGHT - TOP) * value / most:.1f}"
            for at, value in some
        )

    lines = [
        Lines(
            points((each.at, each.updates) for each in some),
            points((each.at, each.rejected) for each in some),
        )
        for some in stretches
    ]
    return Chart(last and last.updates, last and last.rejected, most, SPAN, lines)


def _round(value: float) -> float:
    """Return a round number that is no smaller, so that the scale seldom moves."""
    size = 1.0
    while size * 10 < value:
        size *= 10
    return next(size * step for step in (1, 2, 5, 10) if size * step >= value)
