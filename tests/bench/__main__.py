"""`python -m tests.bench`: every figure that the tracker is held to, on every server there is."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from tests.bench import drain, flat, fleet, latency, memory, start, steps, worker_memory
from tests.bench.figures import RESULTS, Report, merge, show
from tests.bench.kinds import Kind, kinds
from tests.bench.processes import interruptible
from tests.bench.rounds import Plan

Measure = Callable[[Kind, Plan], Report]

PARTS: dict[str, Measure] = {
    "drain": drain.measure,
    "latency": latency.measure,
    "flat": flat.measure,
    "fleet": fleet.measure,
    "memory": memory.measure,
    "worker-memory": worker_memory.measure,
    "start": start.measure,
    "steps": steps.measure,
}

WITHOUT_FILE = ["drain"]
"""What is measured without an append-only file, too, for information."""


def parts(text: str) -> list[str]:
    """Read which parts are to be measured."""
    names = text.split(",")
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(PARTS)}")
    return names


def measure(kind: Kind, names: Sequence[str], plan: Plan) -> Report | None:
    """Measure parts on one kind of server; None where there is nothing to measure."""
    found: Report | None = None
    file = "with" if kind.append_only else "without"
    for name in names:
        print(f"{kind.name}, {file} its append-only file: {name}", flush=True)
        began = time.monotonic()
        report = PARTS[name](kind, plan)
        print(f"  took {time.monotonic() - began:.0f} s", flush=True)
        if found is None:
            found = report
        else:
            found.add(report)
    return found


def measure_all(options: argparse.Namespace) -> list[Report]:
    """Measure on every server that is there, or on those that were asked for."""
    plan = Plan(options.rounds, options.scale)
    reports = []
    for kind in kinds():
        if options.server in {None, kind.name}:
            reports.append(measure(kind, options.only, plan))
            bare = msgspec.structs.replace(kind, append_only=False)
            reports.append(measure(bare, [n for n in options.only if n in WITHOUT_FILE], plan))
    return [report for report in reports if report is not None]


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the numbers of events and entities"
    )
    parser.add_argument(
        "--only", type=parts, default=list(PARTS), metavar="PART,…", help=", ".join(PARTS)
    )
    parser.add_argument("--server", choices=[kind.name for kind in kinds()], help="default: all")
    parser.add_argument(
        "--json",
        type=Path,
        help=f"where the figures go; default: {RESULTS.name} beside this file, at full scale only",
    )
    return parser.parse_args()


def main() -> None:
    """Measure, show the table, and leave the figures."""
    options = arguments()
    interruptible()
    try:
        reports = measure_all(options)
    except KeyboardInterrupt:
        sys.exit("interrupted: nothing was written")
    show(reports, options.scale)
    path = options.json or (RESULTS if options.scale == 1 else None)
    if path is not None:
        merge(path, reports, options.scale)


if __name__ == "__main__":
    main()
