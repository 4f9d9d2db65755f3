"""The picture of the README: an SVG with a row for the tracker and for each of its alternatives."""

from collections.abc import Iterator, Sequence
from html import escape

from msgspec import Struct

ACCENT, GREY, INK, FADED = "#0969da", "#afb8c1", "#1f2328", "#59636e"

WIDTH, ROW, ABOVE, BELOW = 880, 36, 78, 36
NAMES, BARS, LINES = 190, 200, 590
"""Pixels: where names end, and where rates and latencies begin."""
BAR, LINE = 290, 170
"""The longest ones. Right of each stands its value."""


RATE = 1_000
"""Updates per second while latencies are taken: every contender keeps up with that."""


class Row(Struct, frozen=True, omit_defaults=True):
    """One contender, as it is quoted."""

    name: str
    version: str
    rate: float
    """Events per second."""
    keeps: str
    """What a user gets, and what not."""
    p50: float | None = None
    p99: float | None = None
    """Milliseconds."""


def draw(rows: Sequence[Row], caption: str) -> str:
    """Return the picture; the first row is the tracker's. The same rows give the same bytes."""
    height = ABOVE + ROW * len(rows) + BELOW
    font = 'font-family="DejaVu Sans, Verdana, Arial, sans-serif"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {font}>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        text(12, 28, "Status tracker and its alternatives, one process each", size=17, bold=True),
        text(12, height - 14, caption.strip(), size=11, colour=FADED),
    ]
    if rows:
        parts.append(text(BARS, 60, "Events per second, draining a backlog", colour=FADED, size=11))
        title = f"Latency at {RATE:,} events/s: p50 to p99, ms"
        parts.append(text(LINES, 60, title, colour=FADED, size=11))
    ordered = sorted(rows, key=lambda row: -row.rate)
    longest = max((row.rate for row in rows), default=1)
    slowest = max((row.p99 or 0.0 for row in rows), default=0.0)
    for place, row in enumerate(ordered):
        parts += _row(row, ABOVE + ROW * place + ROW // 2, BAR / longest, slowest, row is rows[0])
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(row: Row, middle: int, scale: float, slowest: float, ours: bool) -> Iterator[str]:
    colour = ACCENT if ours else GREY
    length = row.rate * scale
    yield text(NAMES, middle + 5, row.name, anchor="end", bold=ours)
    yield (f'<rect x="{BARS}" y="{middle - 11}" width="{length:.1f}" height="22" fill="{colour}"/>')
    yield text(BARS + length + 6, middle + 5, f"{row.rate:,.0f}", bold=ours)
    if row.p50 is None or row.p99 is None:
        yield text(LINES, middle + 5, "not measured", size=11, colour=FADED)
        return
    first, last = (LINES + LINE * at / slowest for at in (row.p50, row.p99))
    yield f'<path d="M{first:.1f} {middle}H{last:.1f}" stroke="{colour}" stroke-width="5"/>'
    yield f'<circle cx="{first:.1f}" cy="{middle}" r="6" fill="{colour}"/>'
    yield f'<path d="M{last:.1f} {middle - 7}v14" stroke="{colour}" stroke-width="3"/>'
    yield text(last + 8, middle + 5, f"{row.p50:.2f} to {row.p99:.2f}", bold=ours)


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 13,
    colour: str = INK,
    anchor: str = "start",
    bold: bool = False,
) -> str:
    """Return words at a place; they stay text, small, sharp, and found by a search."""
    weight = ' font-weight="bold"' if bold else ""
    style = f'font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'
