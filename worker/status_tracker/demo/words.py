"""The demo in words: its line per second where there is no terminal, and its summary."""

import asyncio
import time
from collections.abc import Iterator, Mapping

import click

from status_tracker.demo.pages import Places
from status_tracker.demo.snapshot import Reader, Snapshot
from status_tracker.engine.tally import Tally


async def show_lines(where: Places, reader: Reader, began: float) -> None:
    """Print what the keys say, a line every second, until cancelled."""
    if where.pages is not None:
        click.echo(f"look at it, while this runs, in a browser: {where.pages}")
    click.echo(f"look at it by commands after: export STATUS_REDIS_URL={where.redis}")
    while True:
        seconds = time.monotonic() - began
        await asyncio.sleep(round(seconds) + 1 - seconds)
        click.echo(line(time.monotonic() - began, await reader.snapshot()))


def line(seconds: float, snapshot: Snapshot) -> str:
    """Return what there is to say after so many seconds."""
    parts = [f"{seconds:.0f} s", f"{snapshot.rate:,.0f} events/s"]
    parts += [f"{kind}s: {_numbers(counts)}" for kind, counts in snapshot.counts.items()]
    last = f" (last: {snapshot.rejections[0].reason})" if snapshot.rejections else ""
    parts.append(f"stalled: {len(snapshot.stalled)}")
    parts.append(f"rejected: {snapshot.reasons.total():,}{last}")
    return "  ".join(parts)


def summary(seconds: float, tally: Tally, snapshot: Snapshot) -> Iterator[str]:
    """Yield the lines that are left when all is over."""
    read = tally.read
    outcomes = {
        "applied": tally.applied,
        "duplicates": tally.duplicates,
        "forwarded": tally.forwarded,
        "rejected": tally.rejected,
    }
    yield f"{seconds:.0f} s: {read:,} events in: {_numbers(outcomes)}"
    for kind, counts in snapshot.counts.items():
        yield f"{kind}s: {_numbers(counts)}"
    yield f"rejected: {_numbers(dict(snapshot.reasons.most_common()))}"


def _numbers(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"
