"""What was measured, beside what it should be: as a table, and as JSON."""

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results.json")


class Figure(Struct):
    """One number, and its target where it has one."""

    name: str
    key: str
    value: float
    unit: str = "x"
    target: float | None = None
    at_least: bool = True
    """Whether the target is a lower bound; else it is an upper one."""
    detail: str = ""
    holds: bool | None = None
    """Whether the target is met; None where there is none."""

    def __post_init__(self) -> None:
        # The number itself is compared, not what is quoted of it.
        if self.target is not None and self.holds is None:
            self.holds = self.value >= self.target if self.at_least else self.value <= self.target
        self.value = round(self.value, 4)


class Report(Struct):
    """What was found on one server."""

    server: str
    append_only: bool
    figures: list[Figure] = field(default_factory=list)
    rates: dict[str, int] = field(default_factory=dict)
    """Events per second, medians of the rounds."""
    latency: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """Events per second → contender → `p50` and `p99`, in ms."""

    def add(self, other: "Report") -> None:
        """Take over what another one found, in place of the same figures where they are here."""
        fresh = {figure.key: figure for figure in other.figures}
        known = {figure.key for figure in self.figures}
        self.figures = [fresh.get(figure.key, figure) for figure in self.figures]
        self.figures += [figure for key, figure in fresh.items() if key not in known]
        self.rates |= other.rates
        self.latency |= other.latency


def ratio(
    name: str,
    key: str,
    measured: Sequence[float],
    beside: Sequence[float],
    *,
    target: float | None = None,
    at_least: bool = True,
) -> Figure:
    """Return the median of the rounds' ratios: a machine's other work spoils rounds, not all."""
    ratios = sorted(ours / theirs for ours, theirs in zip(measured, beside, strict=True))
    detail = f"{ratios[0]:.2f} … {ratios[-1]:.2f} in {len(ratios)} rounds"
    value = statistics.median(ratios)
    return Figure(name, key, value, target=target, at_least=at_least, detail=detail)


def medians(rates: dict[str, list[float]]) -> dict[str, int]:
    """Return what is quoted of rates."""
    return {name: round(statistics.median(found)) for name, found in rates.items()}


def table(reports: Sequence[Report], scale: float) -> Table:
    """Return all figures of all servers."""
    title = "Status tracker, measured"
    if scale != 1:
        title += f" at {scale:g} of the size: these figures say nothing of the full one"
    shown = Table(title=title, title_justify="left", title_style="bold", pad_edge=False)
    shown.add_column("figure")
    shown.add_column("measured", justify="right", no_wrap=True)
    shown.add_column("target", justify="right", no_wrap=True)
    shown.add_column("holds", no_wrap=True)
    shown.add_column("how")
    for report in reports:
        shown.add_section()
        shown.add_row(f"[bold]{report.server}[/bold]")
        if not report.append_only:
            shown.add_row("[bold]without its append-only file[/bold]")
        for figure in report.figures:
            shown.add_row(*_row(figure))
    return shown


def _row(figure: Figure) -> tuple[str, str, str, str, str]:
    target, holds = "", "–"  # noqa: RUF001
    if figure.target is not None:
        bound = "≥" if figure.at_least else "≤"
        target = f"{bound} {quantity(figure.target, figure.unit)}"
        holds = "yes" if figure.holds else "[bold red]NO[/bold red]"
    measured = quantity(figure.value, figure.unit)
    return figure.name, measured, target, holds, figure.detail


def quantity(value: float, unit: str) -> str:
    """Return a number as it is quoted."""
    number = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return f"{number} {unit}"


def show(reports: Sequence[Report], scale: float) -> None:
    """Print the table."""
    Console().print(table(reports, scale))


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def merge(path: Path, reports: Sequence[Report], scale: float) -> None:
    """Write the figures into a file, and keep of it what is not measured here.

    Figures of earlier runs stay where the machine and the scale are the same.
    """
    results: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    alike = results.get("machine") == machine() and results.get("scale") == scale
    servers = msgspec.convert(results.get("servers", []) if alike else [], list[Report])
    for report in reports:
        same = [
            known
            for known in servers
            if (known.server, known.append_only) == (report.server, report.append_only)
        ]
        if same:
            same[0].add(report)
        else:
            servers.append(report)
    results |= {"machine": machine(), "scale": scale, "servers": servers}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
