"""The drain rate of the real worker, beside a loop that does nothing, in one run.

The backlog: tasks with UUID ids, 2,000 in flight, each pending, waiting, 5 x running with progress,
completed, over 4 partitions. The loop that does nothing reads the same entries with `XREADGROUP
COUNT 1000`, throws them away, and sends one `XACK` per read: what any consumer-group loop in Python
has to do at the least. Its replies are taken raw, and its client is redis-py's fastest, the
blocking one with hiredis. Rounds are interleaved; the last line is the median of their ratios.
"""

import argparse
import statistics
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from status_tracker.embedded import embedded_server

from tests.bench.alone import NOTHING, TRACKER
from tests.bench.drain import Backlog
from tests.bench.kinds import calm, version
from tests.bench.processes import interruptible
from tests.bench.rounds import Plan, interleaved, per_second
from tests.bench.workload import Workload


def measure(url: str, workload: Workload, rounds: int) -> None:
    """Print both rates for each round, and the median of the ratios as the last line."""
    backlog = Backlog.on(calm(url), workload)
    print(f"{workload.events:,} events, {workload.partitions} partitions, {version(url)}")
    contenders = {NOTHING: backlog.by_nobody, TRACKER: backlog.by_tracker}
    rates = interleaved(Plan(rounds), contenders, per_second)
    backlog.client.flushdb()
    ratios = [ours / theirs for ours, theirs in zip(rates[TRACKER], rates[NOTHING], strict=True)]
    print(f"ratios: {' '.join(f'{each:.2f}' for each in ratios)}")
    print(f"ratio: {statistics.median(ratios):.2f}")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--redis-url", help="a server of your own; its database is FLUSHED")
    options = parser.parse_args()
    interruptible()
    with tempfile.TemporaryDirectory() as folder:
        server = (
            nullcontext(options.redis_url) if options.redis_url else embedded_server(Path(folder))
        )
        with server as url:
            measure(url, Workload(options.events), options.rounds)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
