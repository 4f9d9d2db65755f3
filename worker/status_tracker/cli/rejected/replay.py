"""`status-tracker rejected replay`."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import click

from status_tracker.cli.arguments import plain_text, timeout_option
from status_tracker.cli.connect import TRIED_FOR, connection_options
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.outcomes import NOT_KEPT, ByHand, Entity
from status_tracker.cli.rejected.kept import Kept, Rejections, Wanted, wanted_options
from status_tracker.cli.show import print_json
from status_tracker.client.judging import Judge, Verdict
from status_tracker.settings import Settings
from status_tracker.text import decoded, escaped

AT_ONCE = 200
"""Entries that are sent, or judged, at once: each may be as large as an update."""

Judged = tuple[Kept, Verdict]


@click.command("replay", epilog=EPILOG)
@click.argument("entries", metavar="[ENTRY]...", type=plain_text, nargs=-1)
@wanted_options
@click.option("--dry-run", is_flag=True, help="Say what each would do now, and write nothing.")
@click.option("--yes", is_flag=True, help="Purge what was sent again; without it, it stays.")
@timeout_option("some hundred of them")
@json_option
@connection_options
def command(
    *,
    settings: Settings,
    wanted: Wanted,
    dry_run: bool,
    yes: bool,
    timeout: int,
    as_json: bool,
) -> None:
    """Send the original bytes again, and say what becomes of each.

    The oldest comes first. Those are meant that are named, or that the options say. What the
    rules refuse whatever the status is, and what is not kept whole, is left. The exit code is
    1 when one was not applied.

    Example: status-tracker rejected replay --reason future --dry-run
    """
    if dry_run and yes:
        raise click.UsageError("--dry-run and --yes: give one of them")
    said: Counter[str] = Counter()
    with Rejections(settings) as rejections:
        judge = Judge(rejections.deployment, TRIED_FOR)
        found = rejections.find(wanted)
        if dry_run:
            judged = _foresee(rejections, judge, found)
        else:
            judged = _replay(rejections, judge, found, timeout)
        for kept, verdict in judged:
            said[verdict.outcome] += 1
            _print(kept, verdict, as_json=as_json)
            # One that is rejected again is kept again.
            if yes and verdict.outcome != "left" and verdict.detail != NOT_KEPT:
                rejections.purge([kept])
    if not as_json:
        _print_sum(said, dry_run=dry_run, yes=yes)
    sys.exit(int(said["rejected"] + said["left"] > 0))


def _foresee(rejections: Rejections, judge: Judge, found: Iterator[Kept]) -> Iterator[Judged]:
    """Yield what would become of entries."""
    while some := list(islice(found, AT_ONCE)):
        verdicts = rejections.shell.run(judge.foresee([kept.rejected for kept in some]))
        yield from zip(some, verdicts, strict=True)


def _replay(
    rejections: Rejections, judge: Judge, found: Iterable[Kept], timeout: int
) -> Iterator[Judged]:
    """Send entries again; yield what became of each."""
    for wave in _waves(found):
        refused = {kept.name: judge.refusal(kept.rejected) for kept in wave}
        sent = [kept for kept in wave if refused[kept.name] is None]
        verdicts = {name: verdict for name, verdict in refused.items() if verdict is not None}
        if sent:
            entities = [Entity(kept.kind, kept.id) for kept in sent]
            by_hand = ByHand(rejections.shell, rejections.deployment, entities)
            outcomes = by_hand.become([kept.rejected.data for kept in sent], timeout)
            for kept, outcome in zip(sent, outcomes, strict=True):
                if outcome.rejected is not None:
                    verdicts[kept.name] = Verdict("rejected", outcome.rejected)
                elif outcome.before == outcome.after:
                    verdicts[kept.name] = Verdict("duplicate", "")
                else:
                    verdicts[kept.name] = Verdict("applied", decoded(outcome.after or b""))
        for kept in wave:
            yield kept, verdicts[kept.name]


def _waves(found: Iterable[Kept]) -> Iterator[list[Kept]]:
    """Yield entries in their order, in parts in which no two are of the same entity."""
    wave: list[Kept] = []
    entities: set[Entity] = set()
    for kept in found:
        entity = Entity(kept.kind, kept.id)
        if entity in entities or len(wave) == AT_ONCE:
            yield wave
            wave, entities = [], set()
        wave.append(kept)
        entities.add(entity)
    if wave:
        yield wave


def _print(kept: Kept, verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        entry = {"entry": kept.name, "kind": kept.kind, "id": kept.id}
        became = {"outcome": verdict.outcome, "detail": verdict.detail}
        print_json({**entry, "reason": kept.rejected.reason, **became})
        return
    who = f"{kept.kind} {kept.id}".strip()
    detail = f": {verdict.detail}" if verdict.detail else ""
    what = f"{kept.name} {who} ({kept.rejected.reason}) {verdict.outcome}{detail}"
    click.echo(escaped(what))


def _print_sum(said: Counter[str], *, dry_run: bool, yes: bool) -> None:
    each = [f"{count:,} {outcome}" for outcome, count in said.most_common()]
    line = ", ".join(each) or "there are none"
    if dry_run:
        line += "; nothing was sent"
    elif not yes and said.total() > said["left"]:
        line += "; what was sent is still kept: purge it, or give --yes next time"
    click.echo(line)
