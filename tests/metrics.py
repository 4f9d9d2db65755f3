"""The names of the metrics, as their page has them, and those in an expression of Prometheus."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/operating/metrics.md"

_row = re.compile(r"^\| `(status_tracker_\w+)` \| (\w+)", re.MULTILINE)
_used = re.compile(r"\b(status_tracker_\w+|process_\w+)")

OF_A_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
"""What every Python program exports beside its own."""


def exported() -> set[str]:
    """Return the names of all series that a worker exports."""
    names = set(OF_A_PROCESS)
    for name, kind in _row.findall(PAGE.read_text()):
        names.add(name)
        if kind == "histogram":
            names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return names


def used(expression: str) -> set[str]:
    """Return the names in an expression."""
    return set(_used.findall(expression))
