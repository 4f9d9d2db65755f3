"""What a worker answers to probes: whether it lives, whether it is ready, how far it lags.

It is asked from another thread, and asks nobody: not the server, nor the worker's loop.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from status_tracker.monitoring.fleet import PartitionState
from status_tracker.monitoring.watcher import Watcher

STUCK_AFTER = 10.0
"""Seconds without a turn from which on a loop counts as stuck. No batch takes long, but a machine
may be busy with others; what restarts a worker should be sure."""

STALE_AFTER = 3
"""Looks at the server that may fail until what it said is too old to go by."""


class Answer(NamedTuple):
    """What is answered to a probe."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"


def livez(watcher: Watcher) -> Answer:
    """Tell whether the loop turns."""
    if watcher.stuck_for > STUCK_AFTER:
        return Answer(503, f"stuck: the loop has not turned for {watcher.stuck_for:.0f} s\n")
    return Answer(200, "ok\n")


def readyz(watcher: Watcher) -> Answer:
    """Tell whether the server is reached, the worker has its share, and lags little."""
    reasons = list(_why_not_ready(watcher))
    if reasons:
        return Answer(503, "".join(f"{each}\n" for each in reasons))
    fleet = watcher.worker.fleet
    if fleet is None or not fleet.share:
        return Answer(200, "ok: standing by\n")
    return Answer(200, "ok\n")


def lag(watcher: Watcher) -> Answer:
    """Tell how far the deployment lags, for autoscalers; they must not go by what is old."""
    overview = watcher.overview
    if overview is None or watcher.age > STALE_AFTER * watcher.every:
        return _json(503, {"error": f"the server has said nothing for {watcher.age:.0f} s"})
    return _json(
        200,
        {
            "lag": sum(overview.lag),
            "lagSeconds": max(each.lag_seconds for each in overview.fleet.partitions),
            "partitions": overview.lag,
            "workers": sum(
                each.heartbeat_age <= watcher.lease_ttl for each in overview.fleet.workers
            ),
            "ageSeconds": round(watcher.age, 3),
        },
    )


PROBES: dict[str, Callable[[Watcher], Answer]] = {"/livez": livez, "/readyz": readyz, "/lag": lag}
"""By path."""


def _why_not_ready(watcher: Watcher) -> Iterator[str]:
    worker = watcher.worker
    if worker.is_stopping:
        yield "stopping"
        return
    if watcher.stuck_for > STUCK_AFTER:
        yield f"stuck: the loop has not turned for {watcher.stuck_for:.0f} s"
    yield from worker.backoff.troubles
    fleet = worker.fleet
    if fleet is None or fleet.share is None:
        yield "starting: its share of the partitions is not known yet"
        return
    mine = list(fleet.partitions)
    if len(mine) < fleet.share:
        yield f"reads {len(mine)} of the {fleet.share} partitions that are its share"
    overview = watcher.overview
    if overview is None:
        yield "its lag is not known yet"
        return
    yield from behind([overview.fleet.partitions[number] for number in mine], watcher.max_lag)


def behind(partitions: Iterable[PartitionState], max_lag: float) -> Iterator[str]:
    """Say which partitions lag by more seconds than that, if it is not 0."""
    for each in partitions:
        if max_lag and each.lag_seconds > max_lag:
            yield (
                f"partition {each.number} lags by {each.lag_seconds:,.1f} s, "
                f"over ready_max_lag ({max_lag:g} s)"
            )


def _json(status: int, document: object) -> Answer:
    return Answer(status, f"{msgspec.json.encode(document).decode()}\n", "application/json")
