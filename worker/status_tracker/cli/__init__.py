"""The command `status-tracker`: options, and errors as one line with an exit code.

What a command needs is imported when it runs, so that `--help` does not wait for a Redis client.
"""

import logging
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from status_tracker.cli.output import LineFormatter, escaped_lines, guard_output
from status_tracker.errors import (
    EXIT_BUG,
    ClosedPipeError,
    ConfigError,
    OutputError,
    UnavailableError,
)
from status_tracker.signals import stop_signals
from status_tracker.text import escaped

EPILOG = """\b
Exit codes: 0 all is well; 1 the fleet is not, an update was rejected, or rules differ or were
not applied; 2 the command line is wrong; 69 the server cannot be used, or no worker reads an
update; 70 a bug, please report it; 74 the output cannot be written; 78 the configuration
cannot work, or is not the one that the deployment has; 141 the output is not read to its end,
as by head."""

DATA = Path(".status-tracker")
"""Where the embedded server keeps its data: in the folder in which the command is run."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

config_option: Decorator = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Settings that differ from the defaults, as TOML.",
)
redis_url_option: Decorator = click.option(
    "--redis-url",
    metavar="URL",
    help="redis://, rediss://, unix:// or redis+sentinel:// URL; of a cluster, any of its nodes.",
)
prefix_option: Decorator = click.option("--prefix", help="What every key begins with.")
rules_option: Decorator = click.option(
    "--rules",
    type=click.Path(),
    help="The kinds, and which phase may follow which, as TOML: what is in force, or was.",
)


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="status-tracker")
def cli() -> None:
    """Turn streams of status updates into one current status per task, asset or other entity."""


@cli.command(epilog=EPILOG)
@config_option
@redis_url_option
@click.option(
    "--embedded", is_flag=True, help=f"Start a server of its own, with its data in {DATA}/."
)
@click.option("--name", help="What this worker is called: each needs a name of its own.")
@prefix_option
@click.option("--partitions", type=int, metavar="N", help="How many streams there are.")
@click.option("--layout", metavar="NAME", help="single, cluster or auto.")
@rules_option
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
def run(config: Path | None, embedded: bool, **options: Any) -> None:
    """Run a worker until Ctrl-C, SIGTERM or the end of its terminal.

    Every setting and its default is in config/worker.toml; an environment variable STATUS_…
    (STATUS_REDIS_URL) stands over the file, and an option over both.
    """
    if embedded and options["redis_url"]:
        raise click.UsageError(
            "--embedded starts a server, --redis-url names one: give one of them"
        )
    # Before the imports, which take the most of the time that a start takes.
    with stop_signals() as signals:
        from status_tracker.cli.run import run_embedded, run_worker  # noqa: PLC0415

        if embedded:
            run_embedded(config, options, DATA, signals)
        else:
            run_worker(config, options, signals)


@cli.command(epilog=EPILOG)
@config_option
@rules_option
@click.option("--mermaid", is_flag=True, help="Print diagrams for Markdown instead of tables.")
def check(config: Path | None, rules: str | None, mermaid: bool) -> None:
    """Check the settings and the rules, and print the lifecycles."""
    from status_tracker.cli.check import check_files  # noqa: PLC0415

    check_files(config, {"rules": rules}, mermaid=mermaid)


@cli.command(epilog=EPILOG)
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so many seconds."
)
def demo(seconds: float | None) -> None:
    """Watch a small video service: a server, a worker and producers, all started here."""
    from status_tracker.demo import run_demo  # noqa: PLC0415

    run_demo(seconds)


@cli.command(epilog=EPILOG)
@config_option
@redis_url_option
@prefix_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document instead of tables.")
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option(
    "--max-lag",
    metavar="LIMIT",
    help='How far a partition may lag: a number of entries ("1000") or a duration ("30s").',
)
def fleet(
    config: Path | None, as_json: bool, watch: bool, max_lag: str | None, **options: str | None
) -> None:
    """Show who reads which partition, how far behind it is, and which workers live.

    The exit code is 1 when a partition has no owner that lives, or lags too far, so that it serves
    as a health check.
    """
    from status_tracker.cli.fleet import show_fleet  # noqa: PLC0415

    sys.exit(show_fleet(config, options, max_lag, as_json=as_json, watch=watch))


@cli.command("set", epilog=EPILOG)
@click.argument("kind")
@click.argument("entity_id", metavar="ID")
@click.argument("phase")
@click.option("--error", metavar="MESSAGE", help="The error message.")
@click.option("--progress", metavar="NUMBER", help="From 0 to 1.")
@click.option("--restart", is_flag=True, help="Begin again, with the count of retries back at 0.")
@click.option("--force", is_flag=True, help="Also to a phase that no step leads to.")
@click.option(
    "--attempt",
    type=click.IntRange(1, 2**53),
    metavar="N",
    help="Which attempt this speaks of, as the producer counts them.",
)
@click.option(
    "--timeout",
    default="10s",
    show_default=True,
    metavar="DURATION",
    help='How long a worker has to read it ("500ms", "10s").',
)
@config_option
@redis_url_option
@prefix_option
def set_by_hand(
    config: Path | None,
    redis_url: str | None,
    prefix: str | None,
    timeout: str,
    **given: Any,
) -> None:
    """Set the phase of an entity by hand, and say what was and what is.

    It is an update like any other: it goes through the stream, and the deployment's rules hold for
    it. The exit code is 1 when it was rejected.
    """
    from status_tracker.cli.set import set_status  # noqa: PLC0415

    options = {"redis_url": redis_url, "prefix": prefix}
    sys.exit(set_status(config, options, given, timeout))


@cli.group(epilog=EPILOG)
def rules() -> None:
    """Show, compare and change the rules that a deployment goes by."""


file_argument: Decorator = click.argument(
    "file", type=click.Path(path_type=Path), required=False, metavar="[FILE]"
)


@rules.command(epilog=EPILOG)
@file_argument
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.option("--mermaid", is_flag=True, help="Print diagrams for Markdown instead of tables.")
@config_option
@redis_url_option
@prefix_option
def show(
    file: Path | None, as_json: bool, mermaid: bool, config: Path | None, **options: str | None
) -> None:
    """Show the rules in force, and their revision; or those of a file."""
    if as_json and mermaid:
        raise click.UsageError("--json and --mermaid: give one of them")
    from status_tracker.cli.rules import show_rules  # noqa: PLC0415

    show_rules(config, options, file, as_json=as_json, mermaid=mermaid)


@rules.command(epilog=EPILOG)
@file_argument
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document instead of a table.")
@config_option
@redis_url_option
@prefix_option
def diff(file: Path | None, as_json: bool, config: Path | None, **options: str | None) -> None:
    """Show what a file would change (without one: the shipped rules).

    The exit code is 1 where something differs.
    """
    from status_tracker.cli.rules import diff_rules  # noqa: PLC0415

    sys.exit(diff_rules(config, options, file, as_json=as_json))


@rules.command(epilog=EPILOG)
@file_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document; takes --yes, too.")
@config_option
@redis_url_option
@prefix_option
def apply(
    file: Path | None, yes: bool, as_json: bool, config: Path | None, **options: str | None
) -> None:
    """Put the rules of a file in force (without one: the shipped rules), as the next revision.

    All workers go by them within a heartbeat, without a restart. A phase in which entities are
    cannot be dropped.
    """
    from status_tracker.cli.rules import apply_rules  # noqa: PLC0415

    sys.exit(apply_rules(config, options, file, as_json=as_json, yes=yes))


def main() -> None:
    """Run the command; end with a line and an exit code where it fails."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Click makes a 1 of Ctrl-C, as if the fleet were not well.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    guard_output()
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    sys.exit(_exit_code(cli))


def _exit_code(command: Callable[..., Any]) -> int:
    try:
        command()
    except ClosedPipeError as error:
        return error.exit_code
    except (ConfigError, UnavailableError, OutputError) as error:
        click.echo(f"status-tracker: {escaped(str(error))}", err=True)
        return error.exit_code
    except Exception:  # noqa: BLE001
        click.echo(escaped_lines(traceback.format_exc()), err=True)
        click.echo("status-tracker: this is a bug; please report it with the lines above", err=True)
        return EXIT_BUG
    return 0
