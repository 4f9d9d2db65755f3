"""`status-tracker doctor`: what may be wrong, and what to do."""

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from status_tracker.cli.connect import settings_of
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import (
    config_option,
    json_option,
    prefix_option,
    redis_url_option,
    rules_option,
)
from status_tracker.cli.show import NARROW
from status_tracker.errors import EXIT_NO, EXIT_WARN, ConfigError
from status_tracker.monitoring.doctor.examination import examine, worst
from status_tracker.monitoring.doctor.finding import LEVELS, Finding, Level
from status_tracker.monitoring.health import MaxLag
from status_tracker.settings import slips
from status_tracker.text import escaped

EXIT_CODES: dict[Level, int] = {"ok": 0, "warn": EXIT_WARN, "fail": EXIT_NO}

STYLES: dict[Level, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def _max_lag(_: click.Context, __: click.Parameter, value: str) -> MaxLag:
    try:
        return MaxLag.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("doctor", epilog=EPILOG)
@json_option
@click.option(
    "--max-lag",
    metavar="LIMIT",
    default="1m",
    show_default=True,
    callback=_max_lag,
    help='How far a partition may lag: a number of entries ("1000") or a duration ("30s").',
)
@config_option
@redis_url_option
@prefix_option
@rules_option
def command(config: Path | None, as_json: bool, max_lag: MaxLag, **options: str | None) -> None:
    """Look for what is wrong, or may become so, and say what to do.

    Server, deployment, producers and a worker's settings are looked at; each line says what was
    found and what to do. Give it what a worker gets: the same file, variables and user. It writes
    nothing. The exit code is by the worst: 1 where something fails, 3 where something is to be
    warned of.
    """
    try:
        settings = settings_of(config, options)
    except ConfigError as error:
        mend = "mend it: without settings nothing else can be looked at"
        findings = [Finding("configuration", "settings", "fail", str(error), mend)]
    else:
        findings = asyncio.run(examine(settings, max_lag, slips=list(slips())))
    level = worst(findings)
    if as_json:
        click.echo(msgspec.json.encode({"worst": level, "findings": findings}))
    else:
        _print(findings)
    sys.exit(EXIT_CODES[level])


def _print(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False)
    if console.is_terminal and console.width >= NARROW:
        console.print(_table(findings))
    else:
        for finding in findings:
            click.echo(escaped(_line(finding)))
    counts = Counter(finding.level for finding in findings)
    click.echo(", ".join(f"{counts[level]} {level}" for level in LEVELS))


def _line(finding: Finding) -> str:
    mend = f" -> {finding.mend}" if finding.mend else ""
    what = f"{finding.level:4} {finding.family}: {finding.check}: "
    return f"{what}{finding.found}{mend}"


def _table(findings: Sequence[Finding]) -> Table:
    rows = Table(box=box.SIMPLE_HEAD, show_edge=False)
    rows.add_column("", no_wrap=True)
    rows.add_column("of", no_wrap=True)
    rows.add_column("check", overflow="fold")
    rows.add_column("found", overflow="fold", ratio=3)
    rows.add_column("what to do", overflow="fold", ratio=2)
    for finding in findings:
        rows.add_row(
            Text(finding.level, STYLES[finding.level]),
            finding.family,
            finding.check,
            Text(escaped(finding.found)),
            Text(escaped(finding.mend)),
        )
    return rows
