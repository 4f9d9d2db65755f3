"""Which phases lead to where work begins."""

import pytest
from status_tracker.client.steps import way_back, way_to
from status_tracker.rules import parse_rules

from tests.line import RULES

TASK, ASSET = RULES.kinds["task"], RULES.kinds["asset"]

EXPORT = parse_rules(
    {
        "max_clock_skew": "60s",
        "clock_skew": "1s",
        "max_event_bytes": "64KiB",
        "export": {
            "phases": ["queued", "rendering", "done", "broken"],
            "initial": ["queued"],
            "success": ["done"],
            "terminal": ["done"],
            "max_retries": 2,
            "retries": {"broken": ["queued"]},
            "transitions": {"queued": ["rendering", "broken"], "rendering": ["done", "broken"]},
        },
    }
).kinds["export"]


@pytest.mark.parametrize(
    ("start", "way"),
    [
        (None, ["pending", "waiting", "running"]),
        ("pending", ["waiting", "running"]),
        ("waiting", ["running"]),
        ("running", ["running"]),
        ("failed", ["waiting", "running"]),
        ("cancelled", ["waiting", "running"]),
        ("completed", ["running"]),
    ],
)
def test_a_task_is_brought_to_running(start: str | None, way: list[str]) -> None:
    """By plain steps from where it is, else by a retry or a restart; if in vain, the end alone."""
    assert list(way_to(TASK, start, "running")) == way


def test_other_kinds_have_other_ways() -> None:
    """They follow from the rules."""
    assert list(way_to(ASSET, None, "processing")) == ["waiting", "processing"]
    assert list(way_to(EXPORT, None, "rendering")) == ["queued", "rendering"]


def test_a_retry_leads_back() -> None:
    """Over the step that counts it; there is none in a kind that counts none."""
    assert list(way_back(TASK, "running")) == ["waiting", "running"]
    assert list(way_back(EXPORT, "rendering")) == ["broken", "queued", "rendering"]
    assert list(way_back(ASSET, "processing")) == []
