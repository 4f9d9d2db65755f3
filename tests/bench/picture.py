"""The picture of the README: `picture.py [RESULTS]` draws results.svg beside results.json.

Runs in the peers' environment, where matplotlib is, and imports nothing of this project. The same
results give the same bytes.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

RESULTS = Path(__file__).with_name("results.json")

TRACKER = "status tracker"
ACCENT, GREY, INK, FADED = "#0969da", "#afb8c1", "#1f2328", "#59636e"

NOTES = {
    TRACKER: "order, exactly once, index, counts, feed",
    "nothing": "reads and acknowledges, keeps nothing",
    "handwritten": "batches in transactions; statuses only",
    "handwritten, MSET": "one MSET for a batch; statuses only",
    "FastStream": "batches; statuses only",
    "Celery events": "in memory only; unheard ones are lost",
    "Celery, in memory": "its State.event() alone, no server",
    "naive loop": "one by one; statuses only",
}
"""What each does. Others are not drawn."""

TITLES = {
    "nothing": "Loop that does nothing",
    "handwritten": "Loop written by hand",
    "handwritten, MSET": "Loop by hand, MSET",
}

STYLE = {
    # Where the first is not there, a viewer takes another; Verdana is as wide.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "text.color": INK,
    # Text stays text: small, sharp, and found by a search.
    "svg.fonttype": "none",
    # Names inside the file are made from this instead of at random.
    "svg.hashsalt": "status-tracker",
}

ROW, ABOVE, BELOW = 0.46, 0.8, 0.4
"""Inches: the height of a row, and what is left for the titles and the caption."""


@dataclass
class Contender:
    """One row of the picture."""

    name: str
    rate: float
    latency: dict[str, float] | None = None

    @property
    def title(self) -> str:
        """What stands before its bar."""
        return TITLES.get(self.name, self.name[0].upper() + self.name[1:])

    @property
    def colour(self) -> str:
        """The one colour there is belongs to the tracker."""
        return ACCENT if self.name == TRACKER else GREY

    @property
    def weight(self) -> str:
        """As with the colour."""
        return "bold" if self.name == TRACKER else "normal"


def contenders(results: dict[str, Any]) -> list[Contender]:
    """Return all that the results hold, the fastest first."""
    found = {
        row["name"]: Contender(row["name"], row["rate"], row.get("latency"))
        for row in peers(results)
    }
    for name, rate in server(results).get("rates", {}).items():
        # The tracker's rate is that of the larger backlog, where both parts have one.
        found.setdefault(name, Contender(name, rate)).rate = rate
    drawn = [found[name] for name in NOTES if name in found]
    return sorted(drawn, key=lambda contender: -contender.rate)


def peers(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what tests/bench/compare.py found."""
    rows: list[dict[str, Any]] = results.get("peers", {}).get("rows", [])
    return rows


def server(results: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured on the server that users get, with its append-only file."""
    servers: list[dict[str, Any]] = results.get("servers", [])
    embedded = [
        each for each in servers if each["append_only"] and each["server"].startswith("valkey")
    ]
    return embedded[0] if embedded else {}


def draw(results: dict[str, Any]) -> Figure:
    """Draw names, throughput and latency side by side, a row for each contender."""
    rows = contenders(results)
    height = ROW * len(rows) + ABOVE + BELOW
    figure = Figure(figsize=(9.2, height), facecolor="white")
    bars, lines = figure.subplots(1, 2, sharey=True, width_ratios=[5, 4])
    edges = {"top": 1 - ABOVE / height, "bottom": BELOW / height}
    figure.subplots_adjust(left=0.3, right=0.99, wspace=0.1, **edges)
    title = "Status tracker and its alternatives, one process each"
    figure.text(0.012, 1 - 0.3 / height, title, fontsize=13, fontweight="bold")
    figure.text(0.012, 0.13 / height, caption(results), fontsize=8, color=FADED)
    draw_names(bars, rows)
    draw_throughput(bars, rows)
    draw_latency(lines, rows)
    return figure


def draw_names(axes: Axes, rows: list[Contender]) -> None:
    """Write before each row who it is, and what that one does for its figures."""
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for place, row in enumerate(rows):
        write(axes, row.title, (0, place), (-8, 6), ha="right", fontweight=row.weight)
        note = {"ha": "right", "fontsize": 8, "color": FADED}
        write(axes, NOTES[row.name], (0, place), (-8, -6.5), **note)


def draw_throughput(axes: Axes, rows: list[Contender]) -> None:
    """Draw a bar for each rate, from zero: one twice as long is twice as fast."""
    clear(axes, "Events per second, draining a backlog")
    axes.set_xlim(0, max(row.rate for row in rows) * 1.25)
    for place, row in enumerate(rows):
        axes.barh(place, row.rate, height=0.56, color=row.colour)
        write(axes, rounded(row.rate), (row.rate, place), (5, 0), fontweight=row.weight)


def draw_latency(axes: Axes, rows: list[Contender]) -> None:
    """Draw a line from p50 to p99 of each that has them."""
    timed = [row.latency for row in rows if row.latency]
    if not timed:
        axes.set_visible(False)
        return
    clear(axes, f"Latency at {timed[0]['rate']:,} events/s: p50 to p99, ms")
    axes.set_xlim(0, max(latency["p99"] for latency in timed) * 1.55)
    for place, row in enumerate(rows):
        if not row.latency:
            write(axes, "not measured", (0, place), (5, 0), fontsize=8, color=FADED)
            continue
        p50, p99 = row.latency["p50"], row.latency["p99"]
        axes.plot([p50, p99], [place, place], color=row.colour, linewidth=4)
        axes.plot(p50, place, "o", color=row.colour, markersize=9)
        axes.plot(p99, place, "|", color=row.colour, markersize=11, markeredgewidth=3)
        write(axes, f"{p50:.2f} to {p99:.2f}", (p99, place), (8, 0), fontweight=row.weight)


def write(
    axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **style: Any
) -> None:
    """Write beside a point, so many pixels from it, whatever the axes' scale."""
    axes.annotate(text, at, offset, textcoords="offset points", va="center", **style)


def clear(axes: Axes, title: str) -> None:
    """Leave only a title and the line that bars begin at: every value stands beside its bar."""
    axes.set_title(title, loc="left", fontsize=8.5, color=FADED, pad=8)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(GREY)
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)


def rounded(rate: float) -> str:
    """Return a rate in three digits: the others are of one run on one machine."""
    digits = len(str(int(rate)))
    return f"{round(rate, 3 - digits):,.0f}"


def caption(results: dict[str, Any]) -> str:
    """Return where and of what it was measured."""
    machine = results.get("machine") or results["peers"]["machine"]
    name = server(results).get("server") or results["peers"]["server"]
    versions = {row["name"].split()[0]: row["version"] for row in peers(results)}
    others = [f"{each} {versions[each]}" for each in ("FastStream", "Celery") if each in versions]
    where = f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}"
    what = [f"{name[0].upper()}{name[1:]} with its append-only file", *others]
    scales = [part["scale"] for part in (results, results.get("peers", {})) if "scale" in part]
    small = "" if all(scale == 1 for scale in scales) else " A trial run, at a part of the size."
    return f"Medians. {where}; {', '.join(what)}.{small}"


def main() -> None:
    """Draw the results that are given, beside them."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    results = json.loads(path.read_text()) if path.exists() else {}
    if not contenders(results):
        sys.exit(f"{path}: no rates to draw; the benchmarks write them")
    mpl.rcParams.update(STYLE)
    picture = path.with_suffix(".svg")
    # Without the date, for the same results give the same bytes.
    draw(results).savefig(picture, metadata={"Date": None})
    print(picture)


if __name__ == "__main__":
    main()
