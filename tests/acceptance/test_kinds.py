"""Kinds of a deployment's own, through kills, compared with the model key by key.

`test_cluster.py` has them on a cluster.
"""

import tomllib
from functools import partial
from pathlib import Path

from status_tracker.keys import Keys
from status_tracker.settings import default_file

from tests.acceptance.producers import PATHS, produce
from tests.acceptance.tracker import assert_as_modelled, drained, tracker
from tests.model import KINDS
from tests.servers import Redis, Server, wait_until
from tests.wire import Document

HISTORY = 5

EXPORT = """
[export]
phases = ["queued", "rendering", "done", "broken"]
initial = ["queued"]
success = ["done"]
terminal = ["done"]
max_retries = 1
transitions = { queued = ["rendering", "broken"], rendering = ["done", "broken"] }
retries = { broken = ["queued"] }
"""

OWN_KINDS: dict[str, Document] = {**KINDS, **tomllib.loads(EXPORT)}

OWN_PATHS = {**PATHS, "export": ["queued", "rendering", "broken", "queued", "rendering", "done"]}


def rules_file(folder: Path) -> str:
    """Write the rules of three kinds; return the file's path."""
    shipped = default_file("rules.toml").read_text()
    file = folder / "rules.toml"
    file.write_text(shipped.replace("history = 0", f"history = {HISTORY}") + EXPORT)
    return str(file)


def assert_own_kinds_as_modelled(client: Redis, keys: Keys) -> None:
    """Compare every key with the model, of which all that matters here came to pass."""
    model = assert_as_modelled(client, keys, kinds=OWN_KINDS, history=HISTORY)
    assert {kind for kind, _ in model.statuses} == set(OWN_KINDS)
    assert model.forwards
    reasons = {rejection.reason for rejection in model.rejected}
    assert reasons >= {"superseded", "illegal_transition", "invalid", "malformed", "stale"}
    assert any(change.get("forced") for change in model.changes)
    assert max(map(len, model.histories(HISTORY + 1).values())) > HISTORY, "no list came to its cap"


def has_changed(client: Redis, key: str, changes: int) -> bool:
    """Tell whether a worker has committed since there were so many changes."""
    return int(client.xlen(key)) > changes


def test_three_kinds_through_kills(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """Kill -9 in the middle of the work, again and again, whatever the kinds are.

    With attempts, forces, retries, garbage and wrong partitions, no effect is lost or doubled.
    """
    keys = Keys("status", "single")
    # One name, so that the next one need not wait for the leases of the killed one.
    options = ["--redis-url", server.url, "--rules", rules_file(tmp_path), "--name", "victim"]
    feed = keys.partition(0).changes
    interrupted = 0
    for seed in range(4):
        produce(redis_client, keys, seed=seed, count=6_000, paths=OWN_PATHS)
        with tracker(tmp_path, *options) as victim:
            wait_until(partial(has_changed, redis_client, feed, redis_client.xlen(feed)))
            victim.kill()
        interrupted += not drained(redis_client, keys)
    assert interrupted, "every worker was done before it was killed: this proves nothing"
    with tracker(tmp_path, *options) as last:
        wait_until(lambda: drained(redis_client, keys))
        assert last.stop() == 0
    assert_own_kinds_as_modelled(redis_client, keys)
