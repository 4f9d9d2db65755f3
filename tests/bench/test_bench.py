"""The suite measures what it says, and the READMEs and the picture show nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.picture import Row
from tests.bench.processes import MEASURABLE, ROOT
from tests.bench.report import OF_BENCH, README, RESULTS, Figure, Report, Results, compared

SHAPES = [
    "2,000 in flight, 4 partitions",
    "200,000 in flight",
    "1 partition",
    "64 partitions",
    "2,000,000 stored",
]


def run(*command: str) -> str:
    """Run Python in the checkout, and return what it prints."""
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_suite_measures_every_figure(tmp_path: Path) -> None:
    """At a tiny size, for what comes out is not looked at here."""
    path = tmp_path / "results.json"
    options = ["--rounds", "1", "--scale", "0.002", "--server", "valkey", "--no-peers"]
    printed = run("-m", "tests.bench", *options, "--results", str(path))
    assert "0.002 of the size" in printed
    [found] = report.load(path).servers
    measured = {figure.what.partition(": ")[0] for figure in found.figures}
    assert set(SHAPES) <= measured
    assert any(what.startswith("latency") for what in measured)
    assert {"emit_many", "get_many of 1,000"} <= measured
    assert any(what.startswith("1,000/s") for what in measured) == MEASURABLE
    assert any(what.startswith("server's memory") for what in measured)
    assert any(what.startswith("worker's memory") for what in measured) == MEASURABLE
    assert all(figure.value > 0 for figure in found.figures)
    assert found.rows[0].name == "status tracker"
    assert path.with_suffix(".svg").read_text() == report.picture(report.load(path))


@pytest.mark.parametrize("how", [["tests/bench/throughput.py"], ["-m", "tests.bench.throughput"]])
def test_the_throughput_ends_with_its_ratio(how: list[str]) -> None:
    """From a checkout, as a file and as a module."""
    *_, last = run(*how, "--rounds", "1", "--events", "5000").splitlines()
    assert float(last.removeprefix("ratio: ")) > 0


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """One round that something else spoilt does not count."""
    figure = compared("drain: rate", "", [100, 300, 10], "by hand", [100, 200, 100])
    assert (figure.value, figure.beside, figure.ratios) == (100, 100, [1.0, 0.1, 1.5])


def test_tables_and_picture_show_what_was_measured(tmp_path: Path) -> None:
    """Each in its place, which leaves the rest of a README as it was."""
    results = Results("a machine", 0.5, 3, [Report("Valkey 9.1.2")])
    results.servers[0].figures = [compared("drain: rate", "", [1500], "by hand", [1000])]
    results.servers[0].figures += [Figure("start", "s", 0.25)]
    results.servers[0].rows = [Row("status tracker", "0.1.0", 1500, "order <&>", 0.5, 1.5)]
    table = report.of_bench(results)
    assert "| drain | rate | 1,500 | 1,000 (by hand) | **1.50** |" in table
    assert "| start |  | 0.25 s |  |  |" in table
    assert "0.5 of the size" in table
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n")
    report.put(readme, report.of_project(results))
    assert report.quoted(readme) == report.of_project(results)
    assert "1,500 | 0.50, 1.50 ms | order" in readme.read_text()
    assert (readme.read_text()[:7], readme.read_text()[-6:]) == ("before\n", "after\n")
    assert ">1,500<" in report.picture(results)


def test_each_rate_is_a_line() -> None:
    """With what the loop by hand takes, and the ratio to it; they are in no other table."""
    costs = {"worker's cores": (0.05, 0.1), "server's cores": (0.06, 0.08), "p50": (4.5, 0.25)}
    costs["p99"] = (8.75, 0.5)
    when = "1,000/s, 4 partitions, linger 0ms"
    results = Results("a machine", servers=[Report("Valkey 9.1.2")])
    results.servers[0].figures = [
        compared(f"{when}: {what}", "", [ours], "by event", [theirs])
        for what, (ours, theirs) in costs.items()
    ]
    idle = {"commands": 9.25, "own": 0.002, "server": 0.0031}
    results.servers[0].figures += [
        Figure(f"idle, 4 partitions: {what}", "", value) for what, value in idle.items()
    ]
    *_, first, last = report.of_rates(results).splitlines()
    assert first == (
        f"| {when} | 0.100, 0.080 | 0.050 (**0.50**) | 0.060 (**0.75**) | 4.5, 8.8 ms (**18.0**) |"
    )
    assert last == "| idle, 4 partitions |  | 0.002 | 0.003 | 9.25 commands/s |"
    assert "partitions" not in report.of_bench(results)


def test_the_tracker_has_one_rate() -> None:
    """The README's table and picture, and the table beside, are of the same rounds."""
    for each in report.load(RESULTS).servers:
        if each.rows:
            [first, *_] = [
                found for found in each.figures if found.what == f"{SHAPES[0]}: events/s"
            ]
            assert each.rows[0].rate == first.value


def test_the_readmes_quote_what_was_measured() -> None:
    """Their figures are those of the committed results, each of them and no other."""
    results = report.load(RESULTS)
    assert report.quoted(README) == report.of_project(results)
    assert report.quoted(OF_BENCH) == report.of_bench(results)
    assert report.quoted(OF_BENCH, report.RATES) == report.of_rates(results)
    assert RESULTS.with_suffix(".svg").read_text() == report.picture(results)
