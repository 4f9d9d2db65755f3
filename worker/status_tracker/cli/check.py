"""`status-tracker check`: the files, checked and shown."""

from pathlib import Path

import click
from rich.console import Console

from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.lifecycles import show_diagrams, show_tables
from status_tracker.cli.options import config_option, mermaid_option, rules_option
from status_tracker.connection.url import connect
from status_tracker.rules import load_rules
from status_tracker.settings import default_file, load_settings
from status_tracker.text import escaped


@click.command("check", epilog=EPILOG)
@config_option
@rules_option
@mermaid_option
def command(config: Path | None, rules: str | None, mermaid: bool) -> None:
    """Check the settings and the rules, and print the lifecycles."""
    settings = load_settings(config, options={"rules": rules})
    connect(settings.redis_url)
    file = settings.rules or default_file("rules.toml")
    found = load_rules(file)
    if mermaid:
        show_diagrams(found)
        return
    console = Console()
    show_tables(console, found)
    console.print(
        f"settings and rules are good ({escaped(str(file))})", markup=False, soft_wrap=True
    )
