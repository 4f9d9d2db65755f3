"""The drain rate of the real worker, beside a loop that does nothing, in one run.

The backlog: tasks with UUID ids, 2,000 in flight, each pending, waiting, 5 x running with progress,
completed, over 4 partitions. The loop that does nothing reads the same entries with `XREADGROUP
COUNT 1000`, throws them away, and sends one `XACK` per read: what any consumer-group loop in Python
has to do at the least. Its replies are taken raw, and its client is redis-py's fastest, the
blocking one with hiredis. Rounds are interleaved; the last line is the median of their ratios.
"""

import argparse
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

if not __package__:
    # Run as a file: Python then looks beside it, and not in the checkout.
    sys.path[0] = str(Path(__file__).parents[2])

from tests.bench.drain import Backlog
from tests.bench.loops import NOTHING, TRACKER
from tests.bench.processes import EMBEDDED, Plan, interleaved, interruptible, serve, version
from tests.bench.report import median
from tests.bench.workload import Workload


def main() -> None:
    """Print both rates for each round, and the median of the ratios as the last line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--redis-url", help="a server of your own; its database is FLUSHED")
    options = parser.parse_args()
    interruptible()
    own = options.redis_url
    with nullcontext(own) if own else serve(EMBEDDED) as url:
        backlog = Backlog(url, Workload(options.events))
        print(
            f"{options.events:,} events, {backlog.workload.partitions} partitions, {version(url)}"
        )
        contenders = {name: partial(backlog.drain, name) for name in (NOTHING, TRACKER)}
        drains = interleaved(Plan(options.rounds), contenders, lambda drain: f"{drain.rate:,.0f}/s")
        backlog.client.flushdb()
    pairs = zip(drains[TRACKER], drains[NOTHING], strict=True)
    ratios = [ours.rate / theirs.rate for ours, theirs in pairs]
    print(f"ratios: {' '.join(f'{each:.2f}' for each in ratios)}")
    print(f"ratio: {median(ratios):.2f}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
