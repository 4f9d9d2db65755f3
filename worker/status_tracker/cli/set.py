"""`status-tracker set`: an update by hand, through the stream, and what became of it."""

import sys
from collections.abc import Iterator
from typing import Any

import click

from status_tracker.cli.arguments import (
    id_argument,
    kind_argument,
    plain_text,
    timeout_option,
    update_options,
)
from status_tracker.cli.connect import TRIED_FOR, connection_options, refusals
from status_tracker.cli.exit_codes import EPILOG
from status_tracker.cli.options import json_option
from status_tracker.cli.outcomes import ByHand, Entity, Outcome, server_time
from status_tracker.cli.show import print_json
from status_tracker.client.documents import status_in
from status_tracker.client.site import Site
from status_tracker.client.sync_shell import SyncShell
from status_tracker.client.updates import Checker, fields_of
from status_tracker.models import LARGEST
from status_tracker.settings import Settings
from status_tracker.text import decoded, escaped


@click.command("set", epilog=EPILOG)
@kind_argument
@id_argument
@click.argument("phase", type=plain_text)
@update_options
@timeout_option("it")
@json_option
@connection_options
def command(
    *,
    settings: Settings,
    kind: str,
    entity_id: str,
    phase: str,
    error: str | None,
    timeout: int,
    as_json: bool,
    **given: Any,
) -> None:
    """Set the phase of an entity by hand, and say what was and what is.

    It is an update like any other: it goes through the stream, and the deployment's rules hold for
    it. The exit code is 1 when it was rejected.

    Example: status-tracker set task export-17 cancelled --error "not needed"
    """
    shell = SyncShell(settings)
    try:
        deployment = shell.run(Site(settings.prefix, TRIED_FOR).get())
        checker = Checker(deployment)
        fields = fields_of(kind, entity_id, phase, error_message=error, **given)
        with refusals():
            # The longest time there is: a shorter one makes no update too large.
            checker.check({**fields, "updatedAt": LARGEST})
        by_hand = ByHand(shell, deployment, [Entity(kind, entity_id)])
        status = status_in(by_hand.before[0])
        fields["updatedAt"] = max(server_time(shell), status.updated_at if status else 0)
        [outcome] = by_hand.become([checker.check(fields).data], timeout)
    finally:
        shell.close()
    if as_json:
        statuses = {"before": status_in(outcome.before), "after": status_in(outcome.after)}
        print_json({**statuses, "rejected": outcome.rejected})
    else:
        for line in lines(outcome):
            click.echo(escaped(line))
    sys.exit(int(outcome.rejected is not None))


def lines(outcome: Outcome) -> Iterator[str]:
    """Yield what there is to say."""
    if outcome.rejected is not None:
        yield f"rejected: {outcome.rejected}"
        return
    if outcome.after == outcome.before:
        yield "unchanged: a duplicate"
    else:
        yield f"before: {_text(outcome.before)}"
    yield f"after: {_text(outcome.after)}"


def _text(status: bytes | None) -> str:
    return "none" if status is None else decoded(status)
