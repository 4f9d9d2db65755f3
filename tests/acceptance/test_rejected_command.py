"""`status-tracker rejected`: what was not applied, shown, sent again and taken away."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from status_tracker.keys import Keys
from status_tracker.models import Reason

from tests.acceptance.tracker import Tracker, drained, tracker
from tests.command import Ran, invoked
from tests.events import NOW, add, id_in, update
from tests.servers import Redis, Server, wait_until

REASONS = set(get_args(Reason))
ENTITY = {
    "future": id_in(0, prefix="future"),
    "unknown": id_in(1, prefix="unknown"),
    "task": id_in(2, prefix="task"),
    "corrupt": id_in(3, prefix="corrupt"),
    "tired": id_in(0, prefix="tired"),
}


class Site:
    """A deployment with a worker, in which an entry was rejected for each reason there is."""

    def __init__(self, client: Redis, keys: Keys, worker: Tracker, url: str) -> None:
        self.client = client
        self.keys = keys
        self.worker = worker
        self.url = url

    def run(self, *arguments: str) -> Ran:
        """Run a command of the group."""
        return invoked("rejected", *arguments, "--redis-url", self.url)

    def kept(self) -> int:
        """Return how many rejected entries there are."""
        streams = {self.keys.partition(number).rejected for number in range(4)}
        return sum(self.client.xlen(stream) for stream in streams)

    def status_key(self, entity_id: str, number: int) -> str:
        """Return the key of a task."""
        return self.keys.partition(number).status("task", entity_id)

    def settled(self) -> None:
        """Wait until the worker has read everything."""
        wait_until(lambda: drained(self.client, self.keys))

    def reject_for_each_reason(self) -> None:
        """Send what is rejected, in all partitions."""
        seconds, _ = self.client.time()
        now = 1000 * seconds
        self.client.set(self.status_key(ENTITY["corrupt"], 3), "?")
        events = self.keys.events(0)
        for data in ("oops", "", '{"kind":"task","id":"odd","phase":"none","updatedAt":1}'):
            self.client.xadd(events, {"data": data})
        self.client.xadd(events, {"step": "1"})
        self.client.xadd(events, {"data": update("big", "pending", errorMessage="x" * 70_000)})
        steps: list[tuple[str, str, int, dict[str, Any]]] = [
            (ENTITY["future"], "pending", now + 3_600_000, {}),
            (ENTITY["corrupt"], "pending", NOW, {}),
            (ENTITY["unknown"], "running", NOW, {}),
            (ENTITY["unknown"], "waiting", NOW + 1, {}),
            *((ENTITY["task"], phase, NOW, {}) for phase in ("pending", "waiting", "running")),
            (ENTITY["task"], "running", NOW + 9_000, {"attempt": 2}),
            (ENTITY["task"], "running", NOW + 9_001, {"attempt": 1}),
            (ENTITY["task"], "failed", NOW, {"attempt": 2}),
            (ENTITY["task"], "pending", NOW + 9_002, {}),
            *(
                (ENTITY["tired"], phase, NOW + place, {})
                for place, phase in enumerate(["pending", *["waiting", "running"] * 5])
            ),
        ]
        for entity_id, phase, at, fields in steps:
            add(self.client, update(entity_id, phase, at, **fields), keys=self.keys)
        self.settled()


@pytest.fixture(params=["single", "cluster"])
def site(
    request: pytest.FixtureRequest, server: Server, redis_client: Redis, tmp_path: Path
) -> Iterator[Site]:
    """A deployment of each layout."""
    keys = Keys("status", request.param)
    arguments = ["--redis-url", server.url, "--layout", request.param]
    with tracker(tmp_path / "worker", *arguments) as worker:
        found = Site(redis_client, keys, worker, server.url)
        found.settled()
        found.reject_for_each_reason()
        yield found


def by_entry(found: Ran) -> dict[str, dict[str, Any]]:
    """Return what was said of each entry."""
    return {each["entry"]: each for each in found.documents}


def test_list_and_show(site: Site) -> None:
    """Grouped at first; each one by its name, with all that is kept of it."""
    groups = site.run("list", "--json").documents
    assert {each["reason"] for each in groups} == REASONS
    assert sum(each["count"] for each in groups) == site.kept()
    assert groups[0]["count"] == max(each["count"] for each in groups)
    [tired] = [each for each in groups if each["reason"] == "retries_exhausted"]
    assert (tired["kind"], tired["example"].split(":")[0]) == ("task", ENTITY["tired"])
    table = site.run("list").lines
    assert len([line for line in table if line.startswith(" stale ")]) == 1
    each = site.run("list", "--each", "--json", "--reason", "superseded").documents
    assert [json.loads(one["data"])["attempt"] for one in each] == [1]
    assert site.run("show", each[0]["entry"], "--json").documents == each
    assert f"data: {each[0]['data']}" in site.run("show", each[0]["entry"]).lines
    gone = site.run("show", each[0]["entry"].replace("-", "-9"))
    assert gone.code == 1
    assert gone.err.endswith(": there is no such entry\n")
    assert "no such entry; write one as list --each does" in site.run("show", "x").err


def test_which_are_meant(site: Site) -> None:
    """By reason, kind, id and age, and by name."""

    def reasons(*arguments: str) -> set[str]:
        return {each["reason"] for each in site.run("list", *arguments, "--json").documents}

    assert reasons("--reason", "stale") == {"stale"}
    assert reasons("--id", ENTITY["unknown"]) == {"unknown_entity"}
    assert reasons("--kind", "asset") == reasons("--older-than", "1h") == set()
    assert reasons("--newer-than", "1h") == REASONS
    assert reasons("--older-than", "0s") == REASONS


def test_what_a_dry_run_says_is_what_then_happens(site: Site) -> None:
    """Of every reason; it writes nothing, and a replay purges nothing that was not sent."""
    # What was in the way of some of them is mended.
    site.client.delete(site.status_key(ENTITY["corrupt"], 3))
    add(site.client, update(ENTITY["unknown"], "pending", NOW), keys=site.keys)
    site.settled()
    before = site.kept(), [site.client.xlen(site.keys.events(number)) for number in range(4)]
    foreseen = site.run("replay", "--dry-run", "--json")
    after = site.kept(), [site.client.xlen(site.keys.events(number)) for number in range(4)]
    assert (foreseen.code, before) == (1, after)
    assert len(foreseen.documents) == site.kept()
    assert {each["reason"] for each in foreseen.documents} == REASONS
    outcomes = {each["outcome"] for each in foreseen.documents}
    assert outcomes == {"applied", "rejected", "left"}
    became = site.run("replay", "--json")
    assert became.code == 1
    wanted, found = by_entry(foreseen), by_entry(became)
    for each in (*wanted.values(), *found.values()):
        if each["detail"].startswith("future: "):
            each["detail"] = "future"  # says how far, by the time at which it came
    assert found == wanted
    again = sum(1 for each in found.values() if each["outcome"] == "rejected")
    assert site.kept() == len(found) + again


def test_what_was_replayed_is_purged_on_demand(site: Site) -> None:
    """What is applied or kept anew goes; what cannot be sent stays."""
    site.client.delete(site.status_key(ENTITY["corrupt"], 3))
    assert site.run("replay", "--reason", "corrupt_state", "--yes").lines[-1] == "1 applied"
    status = json.loads(site.client.get(site.status_key(ENTITY["corrupt"], 3)))
    assert status["phase"] == "pending"
    assert site.run("list", "--reason", "corrupt_state").lines == []
    kept = site.kept()
    site.run("replay", "--yes")
    assert site.kept() == kept
    assert site.run("replay", "--reason", "malformed", "--yes").out.endswith("3 left\n")


def test_purge(site: Site) -> None:
    """Without --yes nothing goes, and it says how many would."""
    kept = site.kept()
    found = site.run("purge", "--reason", "stale")
    assert (found.code, found.out) == (1, "found: 1; nothing was purged: give --yes, too\n")
    assert site.kept() == kept
    assert site.run("purge", "--reason", "stale", "--yes").lines == ["purged: 1"]
    [entry] = site.run("list", "--each", "--reason", "superseded", "--json").documents
    assert site.run("purge", entry["entry"], "--yes").lines == ["purged: 1"]
    assert site.kept() == kept - 2
    assert site.run("purge", "--yes", "--json").documents == [
        {"purged": kept - 2, "found": kept - 2}
    ]
    assert site.run("replay").lines == ["there are none"]


def test_no_worker(site: Site) -> None:
    """What nobody reads is not called anything; it is sent, and that is said."""
    assert site.worker.stop() == 0
    found = site.run("replay", "--reason", "stale", "--timeout", "100ms")
    assert (found.code, found.out) == (69, "")
    assert "no worker reads partition 2: " in found.err
