"""`status-tracker rejected list`."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import click
import msgspec
from msgspec import Struct

from status_tracker.cli.connect import connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option, limit_option
from status_tracker.cli.rejected.kept import Kept, Rejections, Wanted, wanted_options
from status_tracker.cli.show import moment, print_json, print_rows
from status_tracker.settings import Settings


class Group(Struct, rename="camel"):
    """The entries of a kind that were rejected for the same reason."""

    reason: str
    kind: str
    count: int
    since: int
    """When the first and the last of them were rejected, in ms since the epoch."""
    last: int
    example: str
    """Of whom the last one is, and what was wrong with it."""


@click.command("list", epilog=EPILOG)
@click.option("--each", is_flag=True, help="Show each entry, not how many there are.")
@limit_option("With --each: how many at most, the oldest first")
@wanted_options
@json_option
@connection_options
def command(settings: Settings, wanted: Wanted, each: bool, limit: int, as_json: bool) -> None:
    """Show what was rejected: how many for which reason, or each.

    Example: status-tracker rejected list --newer-than 1h
    """
    with Rejections(settings) as rejections:
        if each:
            found = islice(rejections.find(wanted), limit or None)
            if as_json:
                for kept in found:
                    print_json(document(kept))
            else:
                print_rows([_cells(kept) for kept in found])
            return
        groups = _grouped(rejections.find(wanted))
    if as_json:
        for group in groups:
            print_json(msgspec.to_builtins(group))
    else:
        print_rows([_group_cells(group) for group in groups], right=["entries"])


def document(kept: Kept) -> dict[str, Any]:
    """Return an entry as a document."""
    rejected = kept.rejected
    return {
        "entry": kept.name,
        "rejectedAt": kept.at,
        "kind": kept.kind,
        "id": kept.id,
        "reason": rejected.reason,
        "detail": rejected.detail,
        "stream": rejected.stream,
        "event": rejected.id,
        "data": rejected.data.decode(errors="backslashreplace"),
    }


def _cells(kept: Kept) -> dict[str, str]:
    return {
        "entry": kept.name,
        "rejected": moment(kept.at),
        "kind": kept.kind,
        "id": kept.id,
        "reason": kept.rejected.reason,
        "detail": kept.rejected.detail,
    }


def _grouped(found: Iterable[Kept]) -> list[Group]:
    """Return the groups, the most frequent reason first."""
    groups: dict[tuple[str, str], Group] = {}
    for kept in found:
        reason = kept.rejected.reason
        group = groups.setdefault(
            (reason, kept.kind), Group(reason, kept.kind, 0, kept.at, kept.at, "")
        )
        group.count += 1
        group.last = kept.at
        group.example = f"{kept.id}: {kept.rejected.detail}" if kept.id else kept.rejected.detail
    return sorted(groups.values(), key=lambda group: -group.count)


def _group_cells(group: Group) -> dict[str, str]:
    return {
        "reason": group.reason,
        "kind": group.kind,
        "entries": f"{group.count:,}",
        "since": moment(group.since),
        "example": group.example,
    }
