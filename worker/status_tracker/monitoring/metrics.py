"""What Prometheus gets: gathered when it asks, of what worker and watcher know already.

`docs/operating/metrics.md` says what each name means; a test holds it to what is exported.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from status_tracker.engine.tally import Histogram, Tally
from status_tracker.lifecycle import Lifecycle
from status_tracker.models import Reason
from status_tracker.monitoring.fleet import FleetState, RejectedState
from status_tracker.monitoring.overview import Overview
from status_tracker.monitoring.watcher import Watched, Watcher

PREFIX = "status_tracker_"

ENDINGS = [
    *((outcome, "") for outcome in ("applied", "duplicate", "forwarded")),
    *(("rejected", reason) for reason in get_args(Reason)),
]
"""As what an entry may end: outcome and reason."""

UNREADABLE = ("malformed", "invalid", "oversized")
"""Reasons for which an entry may not tell its kind."""

NOTHING = Overview(FleetState([], [], RejectedState(0, 0), 0), [], {}, {}, {}, 0.0)

Values = Iterable[tuple[tuple[str, ...], float]]
"""Values, each after those of its labels."""


class WorkerCollector(Collector):
    """The metrics of one worker."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._version = version("status-tracker")

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; those of which nothing is known yet, without a value."""
        watcher = self._watcher
        worker, agreement = watcher.worker, watcher.worker.agreement
        yield from _of_work(worker.tally, agreement.known.rules.kinds if agreement else {})
        yield from _of_worker(worker)
        yield _gauge("build_info", "The version.", [((self._version,), 1)], "version")
        overview = watcher.overview
        for metric in _of_deployment(overview or NOTHING, watcher.lease_ttl):
            if overview is None:
                metric.samples.clear()
            yield metric
        yield _gauge("deployment_age_seconds", "Age of what the server said.", _one(watcher.age))


def _of_work(tally: Tally, kinds: Mapping[str, Lifecycle]) -> Iterator[Metric]:
    """Yield what a worker did."""
    # What may come is there from the start with 0: the first of it is an increase, too.
    endings = [(kind, *ending) for kind in kinds for ending in ENDINGS]
    endings += [("", "rejected", reason) for reason in UNREADABLE]
    entries = dict.fromkeys(endings, 0) | dict(tally.entries)
    yield _counter("entries", "Committed.", entries.items(), "kind", "outcome", "reason")
    phases = [(kind, phase) for kind, life in kinds.items() for phase in life.phases]
    changes = dict.fromkeys(phases, 0) | dict(tally.changes)
    yield _counter("changes", "Changes of phase.", changes.items(), "kind", "phase")
    counting = [kind for kind, life in kinds.items() if life.max_retries is not None]
    yield _counter("retries", "Retries.", _each(tally.retries, counting), "kind")
    yield _counter("removed_entities", "Taken away.", _each(tally.removed, kinds), "kind")
    yield _counter("trimmed_entries", "Applied entries trimmed.", _one(tally.trimmed))
    yield _histogram("latency_seconds", "From XADD to commit.", tally.latency)
    yield _histogram("commit_seconds", "How long one commit took.", tally.commits)
    yield _histogram("commit_entries", "Entries in one commit.", tally.sizes)
    refused = _each(tally.refused, ("cursor_moved", "status_changed"))
    yield _counter("commits_refused", "Commits that wrote nothing.", refused, "reason")
    clocks = HistogramMetricFamily(
        f"{PREFIX}producer_clock_seconds", "updatedAt less the server's time.", labels=["kind"]
    )
    for kind, histogram in list(tally.clocks.items()):
        # Without a sum: some values are below 0, and a sum has to grow.
        clocks.add_metric([kind], _buckets(histogram), None)
    yield clocks


def _of_worker(worker: Watched) -> Iterator[Metric]:
    """Yield what a worker has, and what went wrong."""
    errors = _each(worker.backoff.errors)
    yield _counter("server_errors", "Failures of the server or the link.", errors, "type")
    fleet, agreement = worker.fleet, worker.agreement
    partitions = fleet.partitions if fleet else {}
    yield _gauge("partitions_owned", "Read by this worker.", _one(len(partitions)))
    moves = _each(fleet.moves if fleet else {}, ("taken", "given", "lost"))
    yield _counter("partition_moves", "Partitions that came or went.", moves, "move")
    kept = [each for partition in partitions.values() for each in partition.statuses.kept.items()]
    numbers = dict.fromkeys(agreement.known.rules.kinds if agreement else (), 0)
    for kind, statuses in kept:
        numbers[kind] = numbers.get(kind, 0) + len(statuses.known)
    yield _gauge("kept_statuses", "Statuses kept in memory.", _each(numbers), "kind")
    size = sum(statuses.size for _, statuses in kept)
    yield _gauge("kept_statuses_bytes", "Memory that these take.", _one(size))
    revision = _one(agreement.known.revision) if agreement else ()
    yield _gauge("rules_revision", "Of the rules that this worker goes by.", revision)


def _of_deployment(overview: Overview, lease_ttl: float) -> Iterator[Metric]:
    """Yield what the server said of the whole deployment."""
    fleet, states = overview.fleet, overview.fleet.partitions
    lag = {str(each.number): entries for each, entries in zip(states, overview.lag, strict=True)}
    yield _gauge("lag_entries", "Entries not read yet.", _each(lag), "partition")
    waits = {str(each.number): each.lag_seconds for each in states}
    yield _gauge("lag_seconds", "How long the first of them waits.", _each(waits), "partition")
    yield _gauge("partitions", "Partitions of the deployment.", _one(len(states)))
    free = sum(each.owner is None for each in states)
    yield _gauge("partitions_without_owner", "Read by no worker.", _one(free))
    live = sum(each.heartbeat_age <= lease_ttl for each in fleet.workers)
    yield _gauge("workers", "Workers that live.", _one(live))
    entities = overview.entities.items()
    yield _gauge("entities", "Entities in each phase.", entities, "kind", "phase")
    yield _gauge("stalled_entities", "Marked as stalled.", _each(overview.stalled), "kind")
    lengths = overview.lengths.items()
    yield _gauge("stream_entries", "Length of a stream.", lengths, "stream", "partition")
    ended = Counter(dict.fromkeys(ENDINGS, 0))
    for totals in (each.totals for each in states):
        ended["applied", ""] += totals.applied
        ended["duplicate", ""] += totals.duplicates
        ended["forwarded", ""] += totals.forwarded
        for reason, count in totals.rejected.items():
            ended["rejected", reason] += count
    yield _counter("deployment_entries", "Of all workers.", ended.items(), "outcome", "reason")
    lost = {str(each.number): each.totals.lost for each in states}
    yield _counter("lost_entries", "Gone before they were read.", _each(lost), "partition")
    yield _counter("rejected_dropped", "Rejected, and gone.", _one(fleet.rejected.dropped))


def _one(value: float) -> Values:
    """Return a value without labels."""
    return [((), value)]


def _each(values: Mapping[str, float], names: Iterable[str] = ()) -> Values:
    """Return values by their one label, with 0 for names that have none."""
    return [((name,), value) for name, value in (dict.fromkeys(names, 0) | dict(values)).items()]


def _gauge(name: str, meaning: str, values: Values, *labels: str) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, meaning, labels=labels)
    for of_labels, value in values:
        family.add_metric(of_labels, value)
    return family


def _counter(name: str, meaning: str, values: Values, *labels: str) -> Metric:
    family = CounterMetricFamily(PREFIX + name, meaning, labels=labels)
    for of_labels, value in values:
        family.add_metric(of_labels, value)
    return family


def _histogram(name: str, meaning: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, meaning, labels=[])
    family.add_metric([], _buckets(histogram), histogram.sum)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return how many values are at most each bound, as the format has it."""
    bounds = [*map(str, map(float, histogram.bounds)), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
