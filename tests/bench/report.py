"""What was measured: as JSON, as tables, and in the READMEs, which quote nothing else."""

import os
import platform
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field

from tests.bench.picture import Row, draw

RESULTS = Path(__file__).with_name("results.json")
README = Path(__file__).parents[2] / "README.md"
OF_BENCH = Path(__file__).with_name("README.md")
MEASURED, RATES = "measured", "rates"
"""The marks between which tables stand."""

_at_a_rate = re.compile(r"(?P<when>(?:[\d,]+/s|idle), \d+ partitions.*): (?P<of>.*)").fullmatch

NOT_YET = "Not measured since the benchmarks were changed; `make bench` puts the figures here.\n"


class Figure(Struct, frozen=True, omit_defaults=True):
    """The tracker's number, and most often the same of something that does the same work."""

    what: str
    unit: str
    value: float
    beside: float | None = None
    than: str = ""
    """Whose number that is."""
    ratios: list[float] = []
    """Median, lowest and highest of the rounds'."""


class Report(Struct):
    """What was found on one server."""

    server: str
    figures: list[Figure] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    """The tracker and its alternatives at the first shape. The tracker's is the same number as the
    one among the figures: the README's table and picture have it from here."""


class Results(Struct):
    """What one run found."""

    machine: str
    scale: float = 1.0
    rounds: int = 5
    servers: list[Report] = field(default_factory=list)


def compared(
    what: str, unit: str, ours: Sequence[float], than: str, theirs: Sequence[float]
) -> Figure:
    """Return medians, also of the rounds' ratios: other work spoils rounds, not all of them."""
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    found = [statistics.median(ratios), min(ratios), max(ratios)]
    beside = round(statistics.median(theirs), 4)
    return Figure(what, unit, median(ours), beside, than, [round(each, 4) for each in found])


def median(values: Sequence[float]) -> float:
    """Return what is quoted of the rounds."""
    return round(statistics.median(values), 4)


def together(reports: Sequence[Report]) -> Report:
    """Return what all parts found on one server."""
    figures = [figure for report in reports for figure in report.figures]
    return Report(reports[0].server, figures, [row for report in reports for row in report.rows])


def machine() -> str:
    """Say what is measured on."""
    system = f"{platform.system()} {platform.machine()}"
    return f"{os.cpu_count()} cores ({system}), Python {platform.python_version()}"


def quantity(value: float, unit: str = "") -> str:
    """Return a number as it is quoted: three digits of it, or all before the point."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def of_bench(results: Results) -> str:
    """Return what stands between the marks of the benchmarks' own README."""
    if not results.servers:
        return NOT_YET
    lines = [f"Measured on {results.machine}; medians of {results.rounds} rounds{_size(results)}."]
    for report in results.servers:
        lines += ["", f"| {report.server} | | tracker | beside | ratio |"]
        figures = [figure for figure in report.figures if not _at_a_rate(figure.what)]
        lines += ["| --- | --- | --- | --- | --- |", *map(_line, figures)]
    return "\n".join(lines) + "\n"


def of_rates(results: Results) -> str:
    """Return the table of what it costs at each rate, which has its own marks there."""
    tables = ["\n".join(rates_of(report)) for report in results.servers]
    return "\n\n".join(tables) + "\n" if tables else NOT_YET


def rates_of(report: Report) -> list[str]:
    """Return one line for each rate, number of partitions and contender; ratios are in bold."""
    found: dict[str, dict[str, Figure]] = {}
    for figure in report.figures:
        if match := _at_a_rate(figure.what):
            found.setdefault(match["when"], {})[match["of"]] = figure
    lines = [f"| {report.server} | the loop: process, server | worker | server | p50, p99 |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for when, figures in found.items():
        if "commands" in figures:
            cells = ["", *(f"{figures[each].value:.3f}" for each in ("own", "server"))]
            cells.append(quantity(figures["commands"].value, "commands/s"))
        else:
            own, server = figures["worker's cores"], figures["server's cores"]
            cells = [f"{own.beside:.3f}, {server.beside:.3f}"]
            cells += [f"{each.value:.3f} (**{each.ratios[0]:.2f}**)" for each in (own, server)]
            p50, p99 = figures["p50"], figures["p99"]
            cells.append(f"{p50.value:.1f}, {p99.value:.1f} ms (**{p50.ratios[0]:.1f}**)")
        lines.append(f"| {when} | {' | '.join(cells)} |")
    return lines


def _size(results: Results) -> str:
    return "" if results.scale == 1 else f", a trial at {results.scale:g} of the size"


def _line(figure: Figure) -> str:
    what, _, of = figure.what.partition(": ")
    beside = ratio = ""
    if figure.ratios and figure.beside is not None:
        middle, lowest, highest = figure.ratios
        beside = f"{quantity(figure.beside, figure.unit)} ({figure.than})"
        ratio = f"**{middle:.2f}**"
        if lowest < highest:
            ratio += f" ({lowest:.2f} to {highest:.2f})"
    return f"| {what} | {of} | {quantity(figure.value, figure.unit)} | {beside} | {ratio} |"


def of_project(results: Results) -> str:
    """Return what stands between the marks of the project's README."""
    rows = [row for report in results.servers for row in report.rows]
    if not rows:
        return NOT_YET
    lines = ["| one process each | version | events/s | latency p50, p99 | keeps |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for row in rows:
        times = f"{row.p50:.2f}, {row.p99:.2f} ms" if row.p50 and row.p99 else ""
        cells = [row.name, row.version, quantity(row.rate), times, row.keeps]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def picture(results: Results) -> str:
    """Return the project's picture: of the rows that its table has."""
    for report in results.servers:
        if report.rows:
            where = f"{report.server} with its append-only file; {results.machine}"
            return draw(report.rows, f"{where}{_size(results)}.")
    return draw([], NOT_YET)


def quoted(readme: Path, mark: str = MEASURED) -> str:
    """Return what a README has between two marks."""
    begin, end = _marks(mark)
    return readme.read_text().partition(begin)[2].partition(end)[0]


def put(readme: Path, table: str, mark: str = MEASURED) -> None:
    """Put a table between two marks of a README."""
    begin, end = _marks(mark)
    before, _, rest = readme.read_text().partition(begin)
    readme.write_text(before + begin + table + end + rest.partition(end)[2])


def _marks(mark: str) -> tuple[str, str]:
    return f"<!-- {mark} -->\n", f"<!-- /{mark} -->\n"


def load(path: Path) -> Results:
    """Read what a run left."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def leave(results: Results, path: Path) -> None:
    """Write the figures and the picture; where they are the quoted ones, the READMEs, too."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    path.with_suffix(".svg").write_text(picture(results))
    if path.resolve() == RESULTS.resolve():
        put(README, of_project(results))
        put(OF_BENCH, of_bench(results))
        put(OF_BENCH, of_rates(results), RATES)
