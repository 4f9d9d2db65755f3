"""The README's table, as `results.json` has it: `python -m tests.bench.readme` puts it there.

A test compares the two, so that the README quotes nothing else.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.figures import RESULTS, Figure, Report, quantity

README = Path(__file__).parents[2] / "README.md"
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


def quoted(readme: str) -> str:
    """Return what the README has between the marks."""
    return readme.partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Put the table into the README."""
    table = rendered(msgspec.json.decode(RESULTS.read_bytes()))
    text = re.sub(f"(?<={BEGIN}).*?(?={END})", lambda _: table, README.read_text(), flags=re.DOTALL)
    README.write_text(text)


if __name__ == "__main__":
    main()
