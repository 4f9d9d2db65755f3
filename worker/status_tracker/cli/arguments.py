"""What may be given to several commands, and what is refused before anything is asked."""

from collections.abc import Callable
from typing import Any

import click
import msgspec

from status_tracker.cli.options import Decorator
from status_tracker.decode import invalid_id
from status_tracker.lifecycle import Lifecycle
from status_tracker.models import Progress
from status_tracker.rules import Rules
from status_tracker.text import escaped, listed, shortened
from status_tracker.units import duration


def plain_text(value: str) -> str:
    """Return what a key or a document may hold; raises `click.BadParameter` for bytes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        what = shortened(ascii(value))
        raise click.BadParameter(
            f"{what}: holds bytes that are no UTF-8 text; write others"
        ) from None
    return value


def an_id(value: str) -> str:
    """Return the id of an entity; raises `click.BadParameter` where it cannot be one."""
    refused = invalid_id(plain_text(value))
    if refused:
        raise click.BadParameter(escaped(refused.detail))
    return value


def milliseconds(value: str) -> int:
    """Return a duration in milliseconds; raises `click.BadParameter`."""
    try:
        return duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def share(value: str) -> int | float:
    """Return a progress, as JSON has numbers: it is published as it was written, 1 or 1.0.

    Raises `click.BadParameter`.
    """
    try:
        progress: int | float = msgspec.json.decode(value, type=Progress)
    except (msgspec.DecodeError, ValueError):
        what = escaped(shortened(ascii(value)))
        raise click.BadParameter(f"{what}: write a number from 0 to 1, such as 0.5") from None
    return progress


def a_time(value: str) -> int | float:
    """Return a time as JSON has numbers; what it may be, the rules say."""
    try:
        at: int | float = msgspec.json.decode(value, type=int | float)
    except (msgspec.DecodeError, ValueError):
        what = escaped(shortened(ascii(value)))
        raise click.BadParameter(f"{what}: write milliseconds since the epoch") from None
    return at


kind_argument: Decorator = click.argument("kind", type=plain_text)
id_argument: Decorator = click.argument("entity_id", metavar="ID", type=an_id)


def lifecycle_of(kind: str, rules: Rules) -> Lifecycle:
    """Return the lifecycle of a kind; raises `click.UsageError` where there is no such kind."""
    if kind not in rules.kinds:
        raise click.UsageError(escaped(f"kind: {kind}; must be {listed(rules.kinds)}"))
    return rules.kinds[kind]


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
        click.option("--progress", type=share, metavar="NUMBER", help="From 0 to 1."),
        click.option("--error", type=plain_text, metavar="MESSAGE", help="The error message."),
    ):
        function = option(function)
    return function


def timeout_option(what: str) -> Decorator:
    """Return the option that says how long workers have to read something."""
    return click.option(
        "--timeout",
        type=milliseconds,
        metavar="DURATION",
        default="10s",
        show_default=True,
        help=f'How long a worker has to read {what} ("500ms", "10s").',
    )
