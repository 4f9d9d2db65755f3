"""`status-tracker forget` beside a real worker."""

import json
from pathlib import Path

import pytest
from status_tracker.keys import Keys, Layout

from tests.acceptance.tracker import Tracker, drained, tracker
from tests.command import Ran, invoked, ran
from tests.events import NOW, add, id_in, update
from tests.line import deployed, meta_of
from tests.servers import Redis, Server, wait_until

TASK, OTHER = id_in(2), id_in(2, prefix="other")
WHEN = "updated 2023-11-14 22:13:20Z"


class Site:
    """A deployment with a worker."""

    def __init__(self, server: Server, client: Redis, keys: Keys, worker: Tracker) -> None:
        self.url = server.url
        self.client = client
        self.keys = keys
        self.worker = worker
        self.own = keys.partition(2)

    def forget(self, *arguments: str, given: bytes = b"") -> Ran:
        """Run the command on tasks."""
        return invoked("forget", "task", *arguments, "--redis-url", self.url, given=given)

    def there_are(self, *ids: str) -> None:
        """Bring tasks to waiting, and have a late update of each rejected."""
        for each in ids:
            for place, phase in enumerate(["pending", "waiting"]):
                add(self.client, update(each, phase, NOW + place), keys=self.keys)
            add(self.client, update(each, "pending", NOW - 1), keys=self.keys)
        wait_until(lambda: drained(self.client, self.keys))

    def names(self, entity_id: str) -> list[str]:
        """Return the streams in which an id stands."""
        found = []
        for key in self.client.scan_iter(_type="stream"):
            found += [key for entry in self.client.xrange(key) if f'"{entity_id}"' in str(entry)]
        return sorted(found)


@pytest.mark.parametrize("layout", ["single", "cluster"])
def test_forgetting(server: Server, redis_client: Redis, tmp_path: Path, layout: Layout) -> None:
    """Everywhere or not: what it was is said, it is gone, and nobody else is touched."""
    keys = Keys("status", layout)
    with tracker(tmp_path, "--redis-url", server.url, "--layout", layout) as worker:
        wait_until(lambda: drained(redis_client, keys))
        site = Site(server, redis_client, keys, worker)
        site.there_are(TASK, OTHER, id_in(1))
        assert site.forget(TASK, "nobody", TASK).lines == [
            f"{TASK}: was waiting, {WHEN}; is gone",
            "nobody: there was none",
            "1 gone, 1 not there",
        ]
        assert not redis_client.exists(site.own.status("task", TASK))
        events = site.own.events
        changes, rejected = site.own.changes, site.own.rejected
        assert site.names(TASK) == sorted([events] * 4 + [changes] * 3 + [rejected])

        # It comes back, and goes for good.
        site.there_are(TASK)
        [document, everywhere] = site.forget(TASK, "--everywhere", "--json").documents
        status = {"phase": "waiting", "retries": 0, "updatedAt": NOW + 1}
        assert document == {
            "kind": "task",
            "id": TASK,
            "outcome": "gone",
            "before": status,
            "after": None,
        }
        taken = {"changes": 5, "notices": 1, "rejected": 2, "updates": 8, "left": {}}
        assert everywhere == {"everywhere": taken}
        assert site.names(TASK) == [changes]
        again = site.forget(TASK, "--everywhere").lines
        assert again[1] == "everywhere: 1 of the change feed, 0 rejected, 1 of the streams"
        assert site.names(TASK) == []

        # The others are as they were, and the worker saw nothing odd.
        assert site.names(OTHER) == sorted([events] * 3 + [changes] * 2 + [rejected])
        assert redis_client.hgetall(site.own.counts("task"))["waiting"] == (
            "2" if layout == "single" else "1"
        )
        for number in range(4):
            [group] = redis_client.xinfo_groups(keys.events(number))
            assert group["lag"] == 0
        assert not redis_client.hexists(site.own.partition, "lost")
        assert "lost" not in worker.log
        assert worker.stop() == 0


def test_many_and_what_cannot_go(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """A sum instead of a line for each; what is still there is named, in 1."""
    keys = Keys("status", "single")
    with tracker(tmp_path, "--redis-url", server.url) as worker:
        wait_until(lambda: drained(redis_client, keys))
        site = Site(server, redis_client, keys, worker)
        ids = [f"many-{number}" for number in range(1_200)]
        for each in ids:
            add(redis_client, update(each, "pending"), keys=keys)
        wait_until(lambda: drained(redis_client, keys))
        odd, text = "status:task:odd", "status:task:text"
        redis_client.lpush(odd, "x")
        redis_client.set(text, "\x1b[2J")
        given = "\n".join([*ids, "odd", "text"]).encode()
        found = site.forget("--from-file", "-", given=given)
        assert (found.code, found.err) == (1, "")
        assert sorted(found.out.splitlines()[:2]) == [
            f"{each}: status:task:{each} holds no status: delete the key"
            for each in ("odd", "text")
        ]
        assert found.out.splitlines()[2:] == ["1,200 gone, 2 without a status that can be read"]
        assert redis_client.hgetall("status:counts:task") == {"pending": "0"}
        entries = [
            entry for number in range(4) for entry in redis_client.xrange(keys.events(number))
        ]
        removals = [json.loads(fields["remove"]) for _, fields in entries if "remove" in fields]
        assert sum(map(len, removals)) == 1_202
        assert site.forget("--from-file", "-", given=b"\n").lines == ["there are no ids"]
        assert worker.stop() == 0


def test_nobody_reads(server: Server, redis_client: Redis) -> None:
    """The exit code is 69; the entry stays, and counts as soon as somebody does."""
    keys = Keys("status", "single")
    redis_client.hset(keys.meta, mapping=meta_of(deployed(partitions=4)))
    found = ran(["forget", "task", TASK, "--timeout", "0s", "--redis-url", server.url])
    assert (found.code, found.out) == (69, "")
    assert found.err == (
        "status-tracker: no worker reads partition 2: the removal was not read within 0 s; "
        "it stays in status:events:{2} and counts as soon as it is read\n"
    )
    assert [fields for _, fields in redis_client.xrange(keys.events(2))] == [
        {"remove": f'[["task","{TASK}"]]'}
    ]
    refused = invoked("forget", "job", TASK, "--redis-url", server.url)
    assert (refused.code, refused.out) == (2, "")
    assert "kind: job; must be task or asset" in refused.err
