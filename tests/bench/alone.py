"""One contender in a process of its own: `python -m tests.bench.alone NAME URL EVENTS PARTITIONS`.

It prints one line of JSON. A process that had measured others before would have their leavings all
over its memory, and be slower for it, the tracker more so than a loop that keeps nothing.
"""

import gc
import sys
import time
from collections.abc import Callable

import msgspec
from msgspec import Struct
from status_tracker.app import COLLECT_EVERY

from tests.bench.handwritten import (
    drain_doing_nothing,
    drain_handwritten,
    drain_handwritten_mset,
    drain_naive,
)
from tests.bench.kinds import connect
from tests.bench.processes import figures_of
from tests.bench.tracker import drain_tracker
from tests.bench.workload import Workload

TRACKER = "status tracker"
NOTHING = "nothing"
BY_HAND = "handwritten"
BY_HAND_MSET = "handwritten, MSET"
NAIVE = "naive loop"

LOOPS: dict[str, Callable[[str, Workload], float]] = {
    TRACKER: drain_tracker,
    NOTHING: lambda url, workload: drain_doing_nothing(connect(url), workload),
    BY_HAND: lambda url, workload: drain_handwritten(connect(url), workload),
    BY_HAND_MSET: lambda url, workload: drain_handwritten_mset(connect(url), workload),
    NAIVE: lambda url, workload: drain_naive(connect(url), workload),
}


class Drained(Struct):
    """What a drain came to."""

    rate: float
    """Events per second, from the first connection on."""
    cpu: float
    """Seconds of CPU in that time."""


def drain_alone(name: str, url: str, workload: Workload) -> Drained:
    """Let a contender drain what is in the streams, in a new process."""
    sizes = [str(workload.events), str(workload.partitions)]
    return Drained(**figures_of([sys.executable, "-m", "tests.bench.alone", name, url, *sizes]))


def main(name: str, url: str, events: str, partitions: str) -> None:
    """Drain, and say how fast."""
    # What the worker sets for its process, so that nobody is slower for that.
    gc.set_threshold(COLLECT_EVERY)
    workload = Workload(int(events), partitions=int(partitions))
    began = time.process_time()
    rate = LOOPS[name](url, workload)
    drained = Drained(rate, time.process_time() - began)
    print(msgspec.json.encode(drained).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
