"""Asking a worker's port for metrics and probes, as Prometheus and Kubernetes do."""

import re
import urllib.request
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError

from prometheus_client.parser import text_string_to_metric_families

TABLE = Path(__file__).parents[1] / "docs/operating/metrics.md"

_row = re.compile(r"^\| `(status_tracker_\w+)` \| (\w+)[^|]*\| ([^|]*)\|", re.MULTILINE)


class Said(NamedTuple):
    """An answer."""

    status: int
    text: str


def asked(port: int, path: str, method: str = "GET") -> Said | None:
    """Return the answer to a request; None where nobody listens any more."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310  # it is http
            return Said(reply.status, reply.read().decode())
    except HTTPError as error:
        with error:
            return Said(error.code, error.read().decode())
    except (URLError, ConnectionError):
        return None


class Scrape:
    """What one scrape brought."""

    def __init__(self, port: int) -> None:
        said = asked(port, "/metrics")
        assert said is not None
        assert said.status == 200
        self.text = said.text
        families = text_string_to_metric_families(said.text)
        self._samples = [sample for family in families for sample in family.samples]

    def values(self, name: str, *labels: str) -> Counter[tuple[str, ...]]:
        """Return the values of a metric that are not 0, summed up by some of its labels."""
        found: Counter[tuple[str, ...]] = Counter()
        for sample in self._samples:
            if sample.name == f"status_tracker_{name}":
                place = tuple(sample.labels[label] for label in labels)
                # Counts are whole numbers; in the text format all are floats.
                found[place] += sample.value  # type: ignore[assignment]
        return +found

    def value(self, name: str) -> float:
        """Return the sum of all values of a metric."""
        return sum(each.value for each in self._samples if each.name == f"status_tracker_{name}")

    def types(self) -> dict[str, str]:
        """Return the type of every metric, whether it has a value or not."""
        return dict(re.findall(r"^# TYPE (status_tracker_\w+) (\w+)$", self.text, re.MULTILINE))

    def labels(self) -> dict[str, set[str]]:
        """Return the labels of every metric that has a value."""
        found: dict[str, set[str]] = {}
        for each in self._samples:
            if each.name.startswith("status_tracker_"):
                found[each.name.removesuffix("_bucket")] = set(each.labels) - {"le"}
        return found


def in_docs() -> dict[str, tuple[str, set[str]]]:
    """Return every metric that the operator's page lists, with its type and labels."""
    return {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in _row.findall(TABLE.read_text())
    }


OF_A_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
"""What every Python program exports, of what the dashboard shows."""


def exported() -> set[str]:
    """Return the names of all series that a worker exports, as the operator's page has them."""
    names = set(OF_A_PROCESS)
    for name, (kind, _) in in_docs().items():
        parts = ["_bucket", "_sum", "_count"] if kind == "histogram" else [""]
        names |= {name + part for part in parts}
    return names


def used(expression: str) -> set[str]:
    """Return the names in an expression of Prometheus."""
    return set(re.findall(r"\b(?:status_tracker|process)_\w+", expression))
