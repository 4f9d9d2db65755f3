"""The entries that were rejected, as they are kept; and which of them are meant."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import click
from msgspec import Struct

from status_tracker.cli.arguments import an_id, milliseconds, plain_text
from status_tracker.cli.connect import TRIED_FOR
from status_tracker.cli.outcomes import server_time
from status_tracker.client.documents import Rejected, entity_in, rejected_in
from status_tracker.client.feed import id_parts
from status_tracker.client.operations import asked, asked_all
from status_tracker.client.rejections import purge, rejected_streams, split_name
from status_tracker.client.site import Site
from status_tracker.client.sync_shell import SyncShell
from status_tracker.metadata import Deployment
from status_tracker.settings import Settings

PAGE = 200
"""Entries that are read at once: each may be as large as an update."""


class Kept(Struct, frozen=True):
    """One entry that is kept."""

    name: str
    """What it is called on the command line: its ID, in the layout `cluster` after `<p>/`."""
    entry_id: str
    """Its ID in the stream that it is kept in."""
    rejected: Rejected
    kind: str
    id: str
    """Of whom it is, as far as that can be read."""

    @property
    def at(self) -> int:
        """When it was rejected, in ms since the epoch."""
        return id_parts(self.entry_id)[0]


class Wanted(Struct, frozen=True, kw_only=True):
    """Which entries are meant; None for any."""

    entries: tuple[str, ...] = ()
    reason: str | None = None
    kind: str | None = None
    entity_id: str | None = None
    older_than: int | None = None
    newer_than: int | None = None
    """How long ago they were rejected, in milliseconds."""

    def has(self, kept: Kept) -> bool:
        """Tell whether an entry is one of them, by all but its age."""
        return (
            (not self.entries or kept.name in self.entries)
            and self.reason in (None, kept.rejected.reason)
            and self.kind in (None, kept.kind)
            and self.entity_id in (None, kept.id)
        )


def wanted_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which entries are meant, as `wanted`."""

    @click.option("--reason", metavar="NAME", type=plain_text, help="Rejected for this reason.")
    @click.option("--kind", metavar="NAME", type=plain_text, help="Of entities of this kind.")
    @click.option("--id", "entity_id", metavar="ID", type=an_id, help="Of this entity.")
    @click.option(
        "--older-than", type=milliseconds, metavar="DURATION", help='Rejected before that: "24h".'
    )
    @click.option(
        "--newer-than", type=milliseconds, metavar="DURATION", help='Rejected since then: "10m".'
    )
    @wraps(function)
    def command(
        reason: str | None,
        kind: str | None,
        entity_id: str | None,
        older_than: int | None,
        newer_than: int | None,
        **others: Any,
    ) -> Any:
        wanted = Wanted(
            entries=others.pop("entries", ()),
            reason=reason,
            kind=kind,
            entity_id=entity_id,
            older_than=older_than,
            newer_than=newer_than,
        )
        return function(wanted=wanted, **others)

    return command


class Rejections:
    """What is kept of a deployment's rejected entries."""

    def __init__(self, settings: Settings) -> None:
        self.shell: SyncShell = SyncShell(settings)
        self.deployment: Deployment = self.shell.run(Site(settings.prefix, TRIED_FOR).get())
        self._streams = {
            prefix: stream for stream, prefix in rejected_streams(self.deployment).items()
        }

    def __enter__(self) -> "Rejections":
        return self

    def __exit__(self, *_: object) -> None:
        self.shell.close()

    def find(self, wanted: Wanted) -> Iterator[Kept]:
        """Yield the entries that are meant, the oldest first, and none that come from now on."""
        for name in wanted.entries:
            self._check(name)
        first, last = self._span(wanted)
        newest = self.shell.run(
            asked_all(
                [("XREVRANGE", key, last, first, "COUNT", 1) for key in self._streams.values()],
                TRIED_FOR,
            )
        )
        streams = [
            self._entries(prefix, key, first, page[0][0].decode())
            for (prefix, key), page in zip(self._streams.items(), newest, strict=True)
            if page
        ]
        merged = heapq.merge(*streams, key=lambda kept: id_parts(kept.entry_id))
        return filter(wanted.has, merged)

    def purge(self, found: Iterable[Kept]) -> int:
        """Take entries away; return how many there still were."""
        names = [kept.name for kept in found]
        return self.shell.run(purge(self.deployment, names, TRIED_FOR))

    def _check(self, name: str) -> None:
        prefix, entry_id = split_name(name)
        if prefix not in self._streams or entry_id is None:
            example = f"{next(iter(self._streams))}1700000000000-0"
            raise click.UsageError(
                f"{name}: no such entry; write one as list --each does: {example}"
            )

    def _span(self, wanted: Wanted) -> tuple[str, str]:
        """Return the IDs between which the entries are that are old enough."""
        if wanted.older_than is None and wanted.newer_than is None:
            return "-", "+"
        now = server_time(self.shell)
        first = "-" if wanted.newer_than is None else str(max(0, now - wanted.newer_than))
        last = "+" if wanted.older_than is None else str(max(0, now - wanted.older_than))
        return first, last

    def _entries(self, prefix: str, key: str, first: str, last: str) -> Iterator[Kept]:
        while True:
            page = self.shell.run(asked(("XRANGE", key, first, last, "COUNT", PAGE), TRIED_FOR))
            for entry_id, values in page:
                own = entry_id.decode()
                fields = dict(zip(values[::2], values[1::2], strict=True))
                rejected = rejected_in(prefix + own, fields)
                entity = entity_in(rejected.data)
                yield Kept(prefix + own, own, rejected, entity.kind, entity.id)
            if len(page) < PAGE:
                return
            first = f"({page[-1][0].decode()}"
