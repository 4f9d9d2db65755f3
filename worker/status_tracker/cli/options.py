"""The options that several commands have in common."""

from pathlib import Path

import click

DATA = Path(".status-tracker")
"""Where the embedded server keeps its data: in the folder in which the command is run."""

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Settings that differ from the defaults, as TOML.",
)
redis_url_option = click.option(
    "--redis-url",
    metavar="URL",
    help="redis://, rediss://, unix:// or redis+sentinel:// URL; of a cluster, any of its nodes. "
    f"Where none is given and an embedded server runs in {DATA}/, that one is meant.",
)
prefix_option = click.option("--prefix", help="What every key begins with.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: one document a line."
)
mermaid_option = click.option(
    "--mermaid", is_flag=True, help="Print diagrams for Markdown instead of tables."
)
rules_option = click.option(
    "--rules",
    type=click.Path(),
    help="The kinds, and which phase may follow which, as TOML: what is in force, or was.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
