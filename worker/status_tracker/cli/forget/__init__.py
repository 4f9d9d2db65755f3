"""`status-tracker forget`: entities that are taken away, and what each was."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from status_tracker.cli.arguments import (
    an_id,
    kind_argument,
    lifecycle_of,
    timeout_option,
)
from status_tracker.cli.connect import TRIED_FOR, connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.forget.erasing import Advance, Erased, Eraser
from status_tracker.cli.forget.ids import ids_in
from status_tracker.cli.forget.removing import Became, Forgotten, Remover
from status_tracker.cli.forget.traces import Traces
from status_tracker.cli.options import json_option
from status_tracker.cli.show import moment, print_json
from status_tracker.client.site import Site
from status_tracker.client.sync_shell import SyncShell
from status_tracker.models import Status
from status_tracker.settings import Settings
from status_tracker.text import escaped

SHOWN = 100
"""Ids of which each has its line; of more there is a sum, and a line for what is still there."""

WORDS: dict[Became, str] = {
    "gone": "gone",
    "none": "not there",
    "back": "there again",
    "unreadable": "without a status that can be read",
}


@click.command("forget", epilog=EPILOG)
@kind_argument
@click.argument("ids", metavar="[ID]...", type=an_id, nargs=-1)
@click.option(
    "--from-file",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Forget the ids in a file, one a line; - for standard input.",
)
@click.option(
    "--everywhere",
    is_flag=True,
    help="Also take them out of the change feed, the rejected entries and the streams.",
)
@timeout_option("some thousands of them")
@json_option
@connection_options
def command(
    *,
    settings: Settings,
    kind: str,
    ids: tuple[str, ...],
    file: Path | None,
    everywhere: bool,
    timeout: int,
    as_json: bool,
) -> None:
    """Take entities away, and say what each was.

    Status, index, count and history go, by an entry in the stream, as all changes do. A later
    update begins anew. The exit code is 1 when one is there again, or something was left.

    Example: status-tracker forget task export-17 export-18
    """
    if (file is None) is not bool(ids):
        raise click.UsageError("give one of IDs and --from-file FILE")
    shell = SyncShell(settings)
    try:
        deployment = shell.run(Site(settings.prefix, TRIED_FOR).get())
        lifecycle_of(kind, deployment.rules)
        wanted = list(dict.fromkeys(ids if file is None else ids_in(file)))
        remover = Remover(shell, deployment, kind, timeout)
        traces = Traces(kind, wanted, deployment.keys)
        # Before anything is removed: of the notices in the feed, those that come now are to stay.
        eraser = Eraser(shell, deployment, traces, timeout) if everywhere else None
        said = _remove(remover, wanted, as_json=as_json)
        left = 0
        if eraser is not None:
            with _progress(f"everywhere, {kind}", eraser.size()) as advance:
                erased = eraser.erase(advance)
            left = sum(erased.left.values())
            _print_erased(erased, as_json=as_json)
    finally:
        shell.close()
    sys.exit(int(said["back"] + said["unreadable"] + left > 0))


def _remove(remover: Remover, ids: Sequence[str], *, as_json: bool) -> Counter[Became]:
    """Remove entities, and print what became of them; return how many became what."""
    said: Counter[Became] = Counter()
    total = len(ids)
    try:
        with _progress(f"forget {remover.kind}", total if total > SHOWN else 0) as advance:
            for each in remover.remove(ids):
                said[each.became] += 1
                advance(1)
                if as_json:
                    print_json(_document(remover.kind, each))
                elif total <= SHOWN or each.became in ("back", "unreadable"):
                    click.echo(escaped(line(each)))
    finally:  # what was done before a server went away is said, too
        if not as_json and total != 1 and (said or not ids):
            parts = [f"{said[became]:,} {WORDS[became]}" for became in WORDS if said[became]]
            click.echo(", ".join(parts) or "there are no ids")
    return said


@contextmanager
def _progress(what: str, total: int) -> Iterator[Advance]:
    """Show how far something is, where somebody looks; yield what is called with how much more."""
    console = Console(stderr=True)
    is_shown = console.is_terminal and total > 0
    with Progress(
        console=console, transient=True, disable=not is_shown, redirect_stdout=False
    ) as bar:
        task = bar.add_task(escaped(what), total=total)
        yield lambda more: bar.advance(task, more)


def line(each: Forgotten) -> str:
    """Return what there is to say of an entity."""
    match each.became:
        case "gone":
            return f"{each.id}: was {_words(each.before)}; is gone"
        case "none":
            return f"{each.id}: there was none"
        case "back":
            was = f"was {_words(each.before)}; " if each.before else ""
            return f"{each.id}: {was}is {_words(each.after)}, again: an update came after it"
        case "unreadable":
            return f"{each.id}: {each.key} holds no status: delete the key"


def _words(status: Status | None) -> str:
    if status is None:
        return "without a status that can be read"
    return f"{status.phase}, updated {moment(status.updated_at)}"


def _document(kind: str, each: Forgotten) -> dict[str, Any]:
    statuses = {"before": each.before, "after": each.after}
    return {"kind": kind, "id": each.id, "outcome": each.became, **statuses}


def _print_erased(erased: Erased, *, as_json: bool) -> None:
    if as_json:
        print_json({"everywhere": msgspec.to_builtins(erased)})
        return
    click.echo(
        f"everywhere: {erased.changes:,} of the change feed, {erased.rejected:,} rejected, "
        f"{erased.updates:,} of the streams"
    )
    if erased.notices:
        click.echo(
            "the change feed still tells that they are gone, for those who follow it; "
            "a second run takes that out"
        )
    for where, count in erased.left.items():
        click.echo(escaped(f"left: {count:,} of {where}; run it again later"))
