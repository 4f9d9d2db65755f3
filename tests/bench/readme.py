"""The READMEs' tables, as `results.json` has them: `python -m tests.bench.readme` puts them there.

A test compares them, so that the READMEs quote nothing else.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.figures import RESULTS, Figure, Report, quantity
from tests.bench.steps import STEP

README = Path(__file__).parents[2] / "README.md"
OF_STEPS = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"


def rendered(results: dict[str, Any]) -> str:
    """Return what stands between the marks."""
    reports = msgspec.convert(results["servers"], list[Report])
    kept = [report for report in reports if report.append_only]
    bare = [report for report in reports if not report.append_only]
    lines = [
        _where(results, kept),
        "",
        "| | target | " + " | ".join(_named(report) for report in kept) + " |",
        "| --- | --- |" + " --- |" * len(kept),
        *_rows(kept),
        "",
        *(_without_file(report) for report in bare),
        "",
        *_peers(results.get("peers")),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _where(results: dict[str, Any], reports: Sequence[Report]) -> str:
    machine = results["machine"]
    servers = " and ".join(map(_named, reports))
    return (
        f"Measured on {machine['cores']} cores ({machine['system']}), Python {machine['python']}, "
        f"with {servers}, each with its append-only file:"
    )


def _named(report: Report) -> str:
    return report.server.capitalize()


def _rows(reports: Sequence[Report]) -> Iterator[str]:
    found = [{figure.key: figure for figure in report.figures} for report in reports]
    for key, figure in found[0].items():
        if key.startswith(STEP):
            continue
        cells = [_cell(figures[key]) if key in figures else "" for figures in found]
        target = ""
        if figure.target is not None:
            target = f"{'≥' if figure.at_least else '≤'} {quantity(figure.target, figure.unit)}"
        yield f"| {figure.name} | {target} | " + " | ".join(cells) + " |"


def _cell(figure: Figure) -> str:
    measured = quantity(figure.value, figure.unit)
    return f"**{measured}**: missed" if figure.holds is False else measured


def _without_file(report: Report) -> str:
    (drain,) = (figure for figure in report.figures if figure.key == "drain")
    return (
        f"Without an append-only file, {_named(report)}: {quantity(drain.value, drain.unit)} "
        f"({report.rates['status tracker']:,} and {report.rates['nothing']:,} events/s)."
    )


def _peers(peers: dict[str, Any] | None) -> Iterator[str]:
    if peers is None:
        return
    yield "| one process each | version | events/s | latency p50, p99 | keeps |"
    yield "| --- | --- | --- | --- | --- |"
    for row in peers["rows"]:
        latency = row.get("latency")
        times = f"{latency['p50']:.2f}, {latency['p99']:.2f} ms" if latency else ""
        yield f"| {row['name']} | {row['version']} | {row['rate']:,} | {times} | {row['keeps']} |"


def steps(results: dict[str, Any]) -> str:
    """Return what stands between the marks of the benchmarks' own README."""
    reports = [
        each for each in msgspec.convert(results["servers"], list[Report]) if each.append_only
    ]
    names = [figure.name for figure in reports[0].figures if figure.key.startswith(STEP)]
    lines = ["| µs per event | " + " | ".join(map(_named, reports)) + " |"]
    lines.append("| --- |" + " --- |" * len(reports))
    for name in names:
        values = [
            figure.value for each in reports for figure in each.figures if figure.name == name
        ]
        cells = " | ".join(f"{value:.2f}" for value in values)
        lines.append(f"| {name.removeprefix(STEP)} | {cells} |")
    return "\n".join(lines) + "\n"


def quoted(readme: Path) -> str:
    """Return what a README has between its marks."""
    return readme.read_text().partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Put the tables where they belong."""
    results = msgspec.json.decode(RESULTS.read_bytes())
    for readme, table in ((README, rendered(results)), (OF_STEPS, steps(results))):
        before, mark, rest = readme.read_text().partition(BEGIN)
        readme.write_text(before + mark + table + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
