"""What may be given to several commands, and what is refused before anything is asked."""

from collections.abc import Callable
from typing import Any

import click
import msgspec

from status_tracker.cli.options import Decorator
from status_tracker.decode import invalid_id
from status_tracker.models import Progress
from status_tracker.text import escaped, shortened
from status_tracker.units import duration


class Text(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """Text that a key or a document may hold."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it, where it is text."""
        try:
            value.encode()
        except UnicodeEncodeError:
            what = shortened(ascii(value))
            self.fail(f"{what}: holds bytes that are no UTF-8 text; write others", param, ctx)
        return str(value)


class EntityId(Text):
    """The id of an entity."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it, where it may be one."""
        text = super().convert(value, param, ctx)
        refused = invalid_id(text)
        if refused:
            self.fail(escaped(refused.detail), param, ctx)
        return text


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A duration, as milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return it, where it is one."""
        if isinstance(value, int):
            return value
        try:
            return duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Share(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A progress, as JSON has numbers: it is published as it was written, 1 or 1.0."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        """Return it, where it is one."""
        if isinstance(value, int | float):
            return value
        try:
            share: int | float = msgspec.json.decode(value, type=Progress)
        except (msgspec.DecodeError, ValueError):
            what = escaped(shortened(ascii(value)))
            self.fail(f"{what}: write a number from 0 to 1, such as 0.5", param, ctx)
        return share


TEXT: Text = Text()
ENTITY_ID: EntityId = EntityId()
DURATION: Duration = Duration()
PROGRESS: Share = Share()

kind_argument: Decorator = click.argument("kind", type=TEXT)
id_argument: Decorator = click.argument("entity_id", metavar="ID", type=ENTITY_ID)


def update_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for each field that an update may have."""
    for option in (
        click.option(
            "--attempt",
            type=click.IntRange(1, 2**53),
            metavar="N",
            help="Which attempt this speaks of, as the producer counts them.",
        ),
        click.option("--force", is_flag=True, help="Also to a phase that no step leads to."),
        click.option(
            "--restart", is_flag=True, help="Begin again, with the count of retries back at 0."
        ),
        click.option("--progress", type=PROGRESS, metavar="NUMBER", help="From 0 to 1."),
        click.option("--error", type=TEXT, metavar="MESSAGE", help="The error message."),
    ):
        function = option(function)
    return function
