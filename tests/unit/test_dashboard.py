"""The Grafana dashboard: what it asks for is there, and Prometheus understands it."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scrape import exported, used

DASHBOARD = json.loads((Path(__file__).parents[2] / "config/dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]

OF_ALL_JOBS = re.compile(r'\b(?:status_tracker|process)_\w+\b(?!{job="\$job")')
"""A metric that is not narrowed down to the deployment that was chosen."""


def test_each_metric_is_there() -> None:
    """A panel of a metric that nobody exports stays empty, and looks as if all were well."""
    for expression in EXPRESSIONS:
        assert used(expression) <= exported(), expression
        assert not OF_ALL_JOBS.search(expression), expression


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not there")
def test_prometheus_understands_it(tmp_path: Path) -> None:
    """Each expression, with what Grafana puts in the place of its variables."""
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "2m")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    result = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result


def test_no_panel_hides_another() -> None:
    """Grafana moves what overlaps, and takes one of two that have the same id."""

    def overlap(one: Any, other: Any) -> bool:
        a, b = one["gridPos"], other["gridPos"]
        return bool(
            a["x"] < b["x"] + b["w"]
            and b["x"] < a["x"] + a["w"]
            and a["y"] < b["y"] + b["h"]
            and b["y"] < a["y"] + a["h"]
        )

    panels = DASHBOARD["panels"]
    assert not [pair for pair in combinations(panels, 2) if overlap(*pair)]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_it_is_of_no_one_installation() -> None:
    """Whoever loads it chooses the Prometheus and the deployment."""
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"datasource", "job"}
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert all(panel["title"] and panel["description"] for panel in PANELS)
