"""`python -m tests.bench`: the tracker beside what does the same work, on every server there is."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import client, costs, drain, fleet, latency, peers, rates
from tests.bench.processes import Plan, interruptible
from tests.bench.report import (
    RESULTS,
    Report,
    Results,
    leave,
    machine,
    of_bench,
    of_project,
    of_rates,
    together,
)
from tests.servers import binaries

PARTS: dict[str, Callable[[str, Plan], Report]] = {
    "peers": peers.measure,
    "drain": drain.measure,
    "fleet": fleet.measure,
    "latency": latency.measure,
    "rates": rates.measure,
    "costs": costs.measure,
    "client": client.measure,
}


def measure(options: argparse.Namespace) -> Results:
    """Measure on every server that is there, or on the one that was asked for."""
    results = Results(machine(), options.scale, options.rounds)
    plan = Plan(options.rounds, options.scale, options.peers)
    for kind in [options.server] if options.server else binaries():
        reports = []
        for name in options.only:
            print(f"{kind}: {name}", flush=True)
            began = time.monotonic()
            reports.append(PARTS[name](kind, plan))
            print(f"  took {time.monotonic() - began:.0f} s", flush=True)
        results.servers.append(together(reports))
    return results


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the numbers of events and entities"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--server", choices=binaries(), help="default: all")
    parser.add_argument(
        "--no-peers",
        dest="peers",
        action="store_false",
        help="without those that are installed for it: FastStream and Celery",
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="where the figures go, with a picture beside it. A whole run leaves them in "
        f"{RESULTS.name} and in the READMEs; others nowhere",
    )
    return parser.parse_args()


def main() -> None:
    """Measure, show the tables, and leave the figures."""
    options = arguments()
    interruptible()
    try:
        results = measure(options)
    except KeyboardInterrupt:
        sys.exit("interrupted: nothing was written")
    print("", of_bench(results), of_rates(results), of_project(results), sep="\n")
    whole = options.scale == 1 and options.only == list(PARTS) and options.peers
    path = options.results or (RESULTS if whole and options.server is None else None)
    if path is not None:
        leave(results, path)


if __name__ == "__main__":
    main()
