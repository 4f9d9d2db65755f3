"""The alerts: Prometheus takes them, and each fires for its trouble, and on no other day."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.scrape import exported, used

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "config/alerts.yaml"
CASES = ROOT / "tests/alerts"
PAGE = ROOT / "docs/operating/alerts.md"

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not there: Debian's prometheus has it"
)

RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES]


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Prometheus's tool, which reads files beside those that it is given."""
    return subprocess.run(
        ["promtool", *arguments], cwd=CASES, capture_output=True, text=True, check=False
    )


@needs_promtool
def test_prometheus_takes_them() -> None:
    """Every expression can be read, and every template be filled."""
    result = promtool("check", "rules", str(ALERTS))
    assert result.returncode == 0, result


@needs_promtool
@pytest.mark.parametrize("case", ["firing.yaml", "healthy.yaml"])
def test_they_fire_when_they_should(case: str) -> None:
    """`tests/alerts` has a series of each trouble, and one of a day on which all is well."""
    result = promtool("test", "rules", case)
    assert result.returncode == 0, result


def test_each_is_tried_both_ways() -> None:
    """An alert that no case makes fire, or keep quiet, may as well not be there."""

    def tried(case: str, *, fires: bool) -> set[str]:
        tests = yaml.safe_load((CASES / case).read_text())["tests"]
        rules = [rule for test in tests for rule in test["alert_rule_test"]]
        return {rule["alertname"] for rule in rules if bool(rule["exp_alerts"]) == fires}

    assert tried("firing.yaml", fires=True) == set(NAMES)
    assert tried("healthy.yaml", fires=False) == set(NAMES)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_each_is_of_metrics_that_there_are(rule: dict[str, str]) -> None:
    """A name that nobody exports makes an alert that never fires."""
    assert used(rule["expr"])
    assert used(rule["expr"]) <= exported()


def test_the_page_says_what_to_do() -> None:
    """It has a section for each alert, in the order of the file; each alert leads there."""
    assert re.findall(r"^## (StatusTracker\w+)$", PAGE.read_text(), re.MULTILINE) == NAMES
    for rule in RULES:
        runbook = f"docs/operating/alerts.md#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook"] == runbook
        assert rule["labels"]["severity"] in {"page", "ticket"}
