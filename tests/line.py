"""What a deployment is made of, for tests that drive one partition's line step by step."""

from status_tracker.connection.client import Client
from status_tracker.engine.batch import BatchBuilder
from status_tracker.engine.statuses import StatusCache
from status_tracker.engine.store import Store
from status_tracker.keys import Keys, Layout
from status_tracker.metadata import Deployment
from status_tracker.rules import Rules, load_rules, rules_json
from status_tracker.settings import default_file
from status_tracker.testing.line import Line

MAX_EVENT_BYTES = 65_536

RULES = load_rules(default_file("rules.toml"))
"""The contract's rules with its default numbers."""


def deployed(
    rules: Rules = RULES, *, revision: int = 1, layout: Layout = "single", partitions: int = 1
) -> Deployment:
    """Return a deployment that has these rules in force."""
    return Deployment(
        keys=Keys("status", layout),
        partitions=partitions,
        revision=revision,
        rules=rules,
        texts={revision: rules_json(rules)},
    )


def meta_of(deployment: Deployment) -> dict[str, str | None]:
    """Return what the `meta` key of a deployment holds."""
    texts = {f"rules:{number}": text for number, text in deployment.texts.items()}
    return {
        "version": "2",
        "partitions": str(deployment.partitions),
        "layout": deployment.keys.layout,
        "rules": rules_json(deployment.rules),
        "revision": str(deployment.revision),
        **texts,
    }


def builder(
    deployment: Deployment,
    *,
    number: int = 0,
    live_statuses: int = 1_000,
    live_bytes: int = 10**9,
) -> BatchBuilder:
    """Return what folds the entries of a partition."""
    cache = StatusCache(deployment.rules, capacity=live_statuses, size=live_bytes)
    return BatchBuilder(deployment, cache, number=number)


def server_line(
    client: Client,
    number: int = 0,
    *,
    rules: Rules = RULES,
    layout: Layout = "single",
    partitions: int = 4,
    revision: int = 1,
    max_changes: int = 1_000_000,
    max_rejected: int = 1_000_000,
) -> Line:
    """Return the line of a partition on a real server."""
    deployment = deployed(rules, revision=revision, layout=layout, partitions=partitions)
    store = Store(client, deployment, number, max_changes=max_changes, max_rejected=max_rejected)
    return Line(store, deployment.keys.partition(number), builder(deployment, number=number))
