"""The suite measures every figure, and says rightly which of them hold."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.bench.figures import RESULTS, Figure, Report, merge, ratio, table
from tests.bench.processes import MEASURABLE
from tests.bench.readme import OF_STEPS, README, quoted, rendered, steps
from tests.bench.steps import STEP

FIGURES = {
    "drain",
    "handwritten",
    "handwritten_mset",
    *(f"latency_{rate}_{name}" for rate in (2_000, 10_000) for name in ("p50", "p99")),
    "stored",
    "in_flight",
    "in_flight_new",
    "one_partition",
    "many_partitions",
    "server_memory",
    "server_memory_floor",
    "help_cpu",
    "start",
}
OF_PROCESSES = {"fleet_cpu", "worker_memory", "worker_memory_flat"}


def test_the_suite_measures_every_figure(tmp_path: Path) -> None:
    """At a tiny size, for what comes out is not looked at here."""
    path = tmp_path / "results.json"
    options = ["--rounds", "1", "--scale", "0.002", "--server", "valkey", "--json", str(path)]
    run = subprocess.run(
        [sys.executable, "-m", "tests.bench", *options],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    with_file, without_file = json.loads(path.read_bytes())["servers"]
    assert (with_file["append_only"], without_file["append_only"]) == (True, False)
    wanted = FIGURES | (OF_PROCESSES if MEASURABLE else set())
    keys = {figure["key"] for figure in with_file["figures"]}
    assert {key for key in keys if not key.startswith(STEP)} == wanted
    assert f"{STEP}fold" in keys
    assert {figure["key"] for figure in without_file["figures"]} == {"drain"}
    assert all(figure["value"] > 0 for figure in with_file["figures"])
    assert set(with_file["latency"]["2000"]) == {"status tracker", "XREAD + SET"}
    assert "0.002 of the size" in run.stdout


@pytest.mark.parametrize(
    ("value", "target", "at_least", "holds"),
    [
        (1.0, 1.0, True, True),
        (0.9999, 1.0, True, False),
        (1.0, 1.0, False, True),
        (1.0001, 1.0, False, False),
        (1.0, None, True, None),
    ],
)
def test_a_figure_holds(
    value: float, target: float | None, at_least: bool, holds: bool | None
) -> None:
    """A target is met where it is reached exactly, and not by rounding."""
    figure = Figure("drain", "drain", value, target=target, at_least=at_least)
    assert figure.holds is holds


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """One round that something else spoilt does not count."""
    figure = ratio("drain", "drain", [100, 300, 10], [100, 200, 100], target=1.0)
    assert (figure.value, figure.holds) == (1.0, True)
    assert figure.detail == "0.10 … 1.50 in 3 rounds"


def test_the_table_says_what_holds() -> None:
    """And what is only for information, and that a smaller size was measured."""
    report = Report("valkey 9.1.2", append_only=True)
    report.figures = [
        Figure("met", "a", 2.0, target=1.0),
        Figure("missed", "b", 160.0, "MB", target=150.0, at_least=False),
        Figure("told", "c", 0.5),
    ]
    printed = io.StringIO()
    Console(width=200, file=printed).print(table([report], 0.5))
    lines = [line.split("│") for line in printed.getvalue().splitlines() if "│" in line]
    cells = {line[1].strip(): [cell.strip() for cell in line[2:5]] for line in lines}
    assert cells["met"] == ["2.00 x", "≥ 1.00 x", "yes"]
    assert cells["missed"] == ["160 MB", "≤ 150 MB", "NO"]
    assert cells["told"] == ["0.50 x", "", "–"]  # noqa: RUF001
    assert "at 0.5 of the size" in printed.getvalue()


def figures_of(path: Path) -> dict[str, float]:
    """Return the figures of the first server in a file."""
    servers = json.loads(path.read_bytes())["servers"]
    return {figure["key"]: figure["value"] for figure in servers[0]["figures"]}


def test_figures_that_were_not_measured_again_stay(tmp_path: Path) -> None:
    """So single ones can be measured anew; what others left in the file stays, too."""
    path = tmp_path / "results.json"
    path.write_text('{"peers": {"rows": []}}')
    first = [Figure("drain", "drain", 1.1), Figure("start", "start", 0.2)]
    merge(path, [Report("valkey 9.1.2", append_only=True, figures=first)], 1)
    again = [Figure("start", "start", 0.3)]
    merge(path, [Report("valkey 9.1.2", append_only=True, figures=again)], 1)
    assert figures_of(path) == {"drain": 1.1, "start": 0.3}
    results: dict[str, Any] = json.loads(path.read_bytes())
    assert results["peers"] == {"rows": []}


def test_figures_of_another_scale_do_not_stay(tmp_path: Path) -> None:
    """They would pass for figures of this one."""
    path = tmp_path / "results.json"
    for scale, key in [(0.1, "drain"), (1, "start")]:
        report = Report("valkey 9.1.2", append_only=True, figures=[Figure(key, key, 1.0)])
        merge(path, [report], scale)
    assert figures_of(path) == {"start": 1.0}


def test_the_readmes_quote_what_was_measured() -> None:
    """Their figures are those of the committed results, each of them and no other."""
    results = json.loads(RESULTS.read_bytes())
    assert quoted(README) == rendered(results)
    assert quoted(OF_STEPS) == steps(results)
