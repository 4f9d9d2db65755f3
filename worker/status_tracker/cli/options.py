"""The options that several commands have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

DATA = Path(".status-tracker")
"""Where the embedded server keeps its data: in the folder in which the command is run."""

config_option: Decorator = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Settings that differ from the defaults, as TOML.",
)
redis_url_option: Decorator = click.option(
    "--redis-url",
    metavar="URL",
    help="redis://, rediss://, unix:// or redis+sentinel:// URL; of a cluster, any of its nodes. "
    f"Where none is given and an embedded server runs in {DATA}/, that one is meant.",
)
prefix_option: Decorator = click.option("--prefix", help="What every key begins with.")
json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: one document a line."
)
mermaid_option: Decorator = click.option(
    "--mermaid", is_flag=True, help="Print diagrams for Markdown instead of tables."
)
rules_option: Decorator = click.option(
    "--rules",
    type=click.Path(),
    help="The kinds, and which phase may follow which, as TOML: what is in force, or was.",
)
yes_option: Decorator = click.option("--yes", is_flag=True, help="Do not ask.")


def limit_option(what: str) -> Decorator:
    """Return the option that says how many of something are shown."""
    return click.option(
        "--limit",
        type=click.IntRange(min=0),
        metavar="N",
        default=100,
        show_default=True,
        help=f"{what}; 0 for all.",
    )
