"""A file of rules beside those in force."""

from pathlib import Path

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from status_tracker.cli.options import Decorator
from status_tracker.rules import Difference, Rules, in_words, load_rules
from status_tracker.settings import default_file
from status_tracker.text import escaped

file_argument: Decorator = click.argument(
    "file", type=click.Path(path_type=Path), required=False, metavar="[FILE]"
)


def read(file: Path | None) -> tuple[Path, Rules]:
    """Return the file that is meant, and its rules; raises `ConfigError`."""
    file = file or default_file("rules.toml")
    return file, load_rules(file)


def show_changes(
    revision: int, file: Path, found: list[Difference], *, as_json: bool = False
) -> None:
    """Print what differs between a revision and a file."""
    if as_json:
        click.echo(msgspec.json.encode({"revision": revision, "differences": found}))
    else:
        Console().print(_table(revision, file, found))


def _table(revision: int, file: Path, found: list[Difference]) -> Table:
    rows = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("key", f"revision {revision}", escaped(file.name)):
        rows.add_column(Text(name), overflow="fold")
    for each in found:
        before, after = (Text(escaped(in_words(value))) for value in (each.before, each.after))
        rows.add_row(Text(escaped(each.key)), before, after)
    return rows
