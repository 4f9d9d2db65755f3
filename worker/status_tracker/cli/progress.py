"""A bar for commands that take long, where somebody sees it."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class Bar:
    """A bar, which is used for one thing after the other."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def begin(self, what: str, total: int | None) -> None:
        """Begin with something, of which there is about so much, if that is known."""
        self._progress.reset(self._task, description=what, total=total)

    def advance(self, number: int) -> None:
        """Note that so much was done."""
        self._progress.advance(self._task, number)


@contextmanager
def progress() -> Iterator[Bar]:
    """Show a bar on the terminal, if standard error is one."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        yield Bar(bar)
