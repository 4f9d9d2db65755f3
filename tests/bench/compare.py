"""The tracker beside what one would take instead, in one run on the embedded server.

    python -m tests.bench.compare

Each is one process. Throughput is that of draining a backlog, the start included; whoever leaves a
task in a wrong phase is not quoted. Latency is from XADD to the key that shows the update, at one
steady rate. Celery has neither a backlog nor keys: tests/bench/peers/celery_peer.py says what is
measured there. Rounds are interleaved, and the figures are their medians.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.alone import TRACKER
from tests.bench.figures import RESULTS, machine
from tests.bench.kinds import kinds, version
from tests.bench.latency import Times
from tests.bench.peers.contenders import RATE, Compared, Contender
from tests.bench.peers.environment import NoPeersError, peers_python
from tests.bench.processes import interruptible
from tests.bench.rounds import Plan, interleaved


class Latency(Struct, frozen=True):
    """Milliseconds, at so many updates a second."""

    rate: int
    p50: float
    p99: float


class Row(Struct, frozen=True, omit_defaults=True):
    """What is known of a contender in the end."""

    name: str
    version: str
    rate: int
    """Events per second."""
    keeps: str
    latency: Latency | None = None


class Found(Struct, frozen=True):
    """What one round gave."""

    rate: float
    times: Times | None


def contenders(url: str, plan: Plan) -> list[Contender]:
    """Return who can be compared here, and say who cannot."""
    compared = Compared(url, plan)
    try:
        python = peers_python()
    except NoPeersError as error:
        print(f"without FastStream and Celery, which cannot be installed here: {error}")
        return [compared.tracker(), compared.naive()]
    celery = [compared.celery(python), compared.celery_in_memory(python)]
    return [compared.tracker(), compared.faststream(python), *celery, compared.naive()]


def measure(contender: Contender) -> Found:
    """Measure a contender once."""
    return Found(contender.drain(), contender.publish() if contender.publish else None)


def spell(found: Found) -> str:
    """Say what came out of a round."""
    times = found.times
    latency = f" p50 {times.p50:.2f} p99 {times.p99:.2f} ms" if times else ""
    return f"{found.rate:,.0f}/s{latency}"


def compare(plan: Plan) -> tuple[str, list[Row]]:
    """Return the server, and a row for everybody who was measured on it."""
    with kinds()[0].serve() as url:
        compared = contenders(url, plan)
        measures = {contender.name: partial(measure, contender) for contender in compared}
        rounds = interleaved(plan, measures, spell)
        return version(url), [row(contender, rounds[contender.name]) for contender in compared]


def row(contender: Contender, rounds: Sequence[Found]) -> Row:
    """Return the medians of a contender's rounds."""
    rate = round(statistics.median(found.rate for found in rounds))
    times = [found.times for found in rounds if found.times]
    latency = None
    if times:
        p50 = round(statistics.median(each.p50 for each in times), 3)
        p99 = round(statistics.median(each.p99 for each in times), 3)
        latency = Latency(RATE, p50, p99)
    return Row(contender.name, contender.version, rate, contender.keeps, latency)


def show(server: str, rows: Sequence[Row]) -> None:
    """Print the figures, and below them what a user gets for them."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("")
    for heading in ("version", "events/s", "tracker is", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    keeps = Table("", "keeps", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    tracker = next(row.rate for row in rows if row.name == TRACKER)
    for row in rows:
        latency = row.latency
        times = [f"{latency.p50:.2f}", f"{latency.p99:.2f}"] if latency else ["", ""]
        factor = "" if row.name == TRACKER else f"{tracker / row.rate:.1f}x"
        table.add_row(row.name, row.version, f"{row.rate:,}", factor, *times)
        keeps.add_row(row.name, row.keeps)
    console = Console()
    console.print(f"\nOne process each, on {server}; latency at {RATE:,} updates/s\n")
    console.print(table, "", keeps, sep="\n")


def merge(path: Path, plan: Plan, server: str, rows: Sequence[Row]) -> None:
    """Put the rows into the results, beside what other benchmarks left there."""
    results: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    measured_on = {"server": server, "machine": machine(), "scale": plan.scale}
    results["peers"] = {**measured_on, "rows": rows}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


def main() -> None:
    """Parse the command line, compare, and leave the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="which part is measured of all")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that is added to")
    options = parser.parse_args()
    plan = Plan(options.rounds, options.scale)
    interruptible()
    try:
        server, rows = compare(plan)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    show(server, rows)
    merge(options.results, plan, server, rows)


if __name__ == "__main__":
    main()
