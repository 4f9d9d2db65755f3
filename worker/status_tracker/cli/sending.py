"""Sending a file of updates: all are checked before any is sent, and none is sent twice."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from status_tracker.cli.notes import Notes, notes_of, read_notes, write_notes
from status_tracker.cli.updates_file import STDIN, Digest, UpdatesFile, opened
from status_tracker.client.emitting import BATCH, BATCH_BYTES, Emitting, Options
from status_tracker.client.operations import asked, asked_all
from status_tracker.client.site import Site
from status_tracker.client.sync_shell import SyncShell
from status_tracker.client.updates import Checker, Emission
from status_tracker.errors import InputError
from status_tracker.settings import Settings
from status_tracker.text import escaped

RETRY_FOR = 10.0
"""Seconds for which a server that is away is tried again, in the middle of a file."""

PAGE = 1_000
"""Entries that are read at once, to see which updates are in the streams."""


def send_file(settings: Settings, file: Path, *, resume: bool) -> int:
    """Send the updates in a file, or those that were not sent yet; return how many.

    Raises `InputError` before anything is sent where a line cannot be sent, or where it was begun
    and is not to be resumed.
    """
    if resume and file == STDIN:
        raise click.UsageError("--resume: of standard input nothing is noted; name a file")
    notes = None if file == STDIN else read_notes(file)
    if notes is not None and not resume:
        raise InputError(
            f"{file}: {notes.updates:,} of its updates were sent: go on with --resume, or delete "
            f"{notes_of(file)} to send all again"
        )
    shell = SyncShell(settings)
    try:
        with opened(file) as found:
            site = Site(settings.prefix, RETRY_FOR)
            deployment = shell.run(site.get())
            notes = notes or Notes(time.time_ns() // 1_000_000, 0, Digest().text, {})
            updates = UpdatesFile(
                str(file),
                found,
                Checker(deployment),
                began=notes.began,
                most=deployment.rules.max_event_bytes,
            )
            streams = [deployment.keys.events(number) for number in range(deployment.partitions)]
            sending = _Sending(
                shell=shell, site=site, streams=streams, file=file, updates=updates, notes=notes
            )
            return sending.send()
    finally:
        shell.close()


class _Sending:
    """One file on its way."""

    def __init__(
        self,
        *,
        shell: SyncShell,
        site: Site,
        streams: list[str],
        file: Path,
        updates: UpdatesFile,
        notes: Notes,
    ) -> None:
        self._shell = shell
        self._streams = streams
        self._file = file
        self._updates = updates
        self._notes = notes
        self._digest = Digest()
        options = Options(retry_for=RETRY_FOR, max_backlog=None, backlog_timeout=0, wait_replicas=0)
        self._emitting = Emitting(site, options)

    def send(self) -> int:
        """Check the file, then send what was not sent; return how many updates that were."""
        before = self._notes.updates
        checked = self._updates.check(before)
        if checked.digest != self._notes.digest:
            raise InputError(
                f"{self._file}: its first {before:,} updates are not those that were sent: delete "
                f"{notes_of(self._file)} to send all of it"
            )
        # Of updates that were sent after the last notes, the streams tell.
        there = self._sent_unnoted() if self._notes.last else Counter()
        if not self._notes.last:
            self._note([], self._ends())
        for emission in islice(self._updates.updates(0), before):
            self._digest.add(emission)
        return self._send_rest(there, checked.total)

    def _send_rest(self, there: Counter[bytes], total: int) -> int:
        sent = 0
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            name = escaped(self._file.name)
            task = bar.add_task(name, total=total, completed=self._notes.updates)
            for batch in _batches(self._updates.updates(self._notes.updates)):
                missing = [each for each in batch if not _taken(there, each)]
                ids = self._shell.run(self._emitting.send(missing))
                last = {
                    self._streams[each.partition]: entry_id
                    for each, entry_id in zip(missing, ids, strict=True)
                }
                self._note(batch, last)
                sent += len(missing)
                bar.advance(task, len(batch))
        return sent

    def _note(self, batch: list[Emission], last: dict[str, str]) -> None:
        """Note that a batch was sent, and the last entries."""
        for emission in batch:
            self._digest.add(emission)
        self._notes = Notes(
            self._notes.began,
            self._notes.updates + len(batch),
            self._digest.text,
            {**self._notes.last, **last},
        )
        if self._file != STDIN:
            write_notes(self._file, self._notes)

    def _ends(self) -> dict[str, str]:
        """Return the last entry of each stream."""
        commands = [("XREVRANGE", stream, "+", "-", "COUNT", 1) for stream in self._streams]
        pages = self._shell.run(asked_all(list(commands), RETRY_FOR))
        return {
            stream: page[0][0].decode() if page else "0-0"
            for stream, page in zip(self._streams, pages, strict=True)
        }

    def _sent_unnoted(self) -> Counter[bytes]:
        """Return which updates of the next batch are in the streams, and how often."""
        batch = next(_batches(self._updates.updates(self._notes.updates)), [])
        wanted = Counter(each.data for each in batch)
        found: Counter[bytes] = Counter()
        for number in sorted({each.partition for each in batch}):
            for data in self._after(self._streams[number]):
                if found[data] < wanted[data]:
                    found[data] += 1
        return found

    def _after(self, stream: str) -> Iterator[bytes]:
        """Yield the updates that came after the last entry that was noted."""
        last = self._notes.last.get(stream, "0-0")
        while True:
            page = self._shell.run(
                asked(("XRANGE", stream, f"({last}", "+", "COUNT", PAGE), RETRY_FOR)
            )
            for _, values in page:
                yield dict(zip(values[::2], values[1::2], strict=True)).get(b"data", b"")
            if len(page) < PAGE:
                return
            last = page[-1][0].decode()


def _batches(updates: Iterable[Emission]) -> Iterator[list[Emission]]:
    """Yield what is sent in one go."""
    batch: list[Emission] = []
    size = 0
    for each in updates:
        batch.append(each)
        size += len(each.data)
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _taken(there: Counter[bytes], emission: Emission) -> bool:
    """Take an update from those that are in the streams, if it is one of them."""
    if there[emission.data] > 0:
        there[emission.data] -= 1
        return True
    return False
