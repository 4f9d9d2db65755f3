"""`status-tracker check`: the files, checked and shown."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from status_tracker.cli.lifecycles import show_diagrams, show_tables
from status_tracker.connection.url import connect
from status_tracker.rules import load_rules
from status_tracker.settings import default_file, load_settings
from status_tracker.text import escaped


def check_files(config: Path | None, options: Mapping[str, str | None], *, mermaid: bool) -> None:
    """Check settings and rules, and print the lifecycles.

    Raises `ConfigError` at the first thing that cannot work.
    """
    settings = load_settings(config, options=options)
    connect(settings.redis_url)
    file = settings.rules or default_file("rules.toml")
    rules = load_rules(file)
    if mermaid:
        show_diagrams(rules)
        return
    console = Console()
    show_tables(console, rules)
    console.print(
        f"settings and rules are good ({escaped(str(file))})", markup=False, soft_wrap=True
    )
