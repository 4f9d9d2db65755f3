"""`status-tracker bridge`: what still comes to old streams is in the new ones, once, in order."""

import json
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from status_tracker.keys import Keys, partition_of

from tests.acceptance.producers import produce
from tests.acceptance.test_moving import MOVED, cursors, history, producing
from tests.acceptance.tracker import drained, tracker
from tests.command import COMMAND, DEADLINE, environment, invoked
from tests.events import NOW, add, update
from tests.servers import Redis, Server, wait_until

Fields = dict[str, str]


@contextmanager
def bridging(server: Server, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command, and end it in any case."""
    url = ["--redis-url", server.url, "--from-prefix", "status", "--prefix", MOVED]
    process = subprocess.Popen(
        [*COMMAND, "bridge", *url, *options],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def forwarded(client: Redis, keys: Keys, partitions: int) -> int:
    """Return how many entries of the old streams were copied."""
    hashes = (keys.partition(number).partition for number in range(partitions))
    return sum(int(client.hget(each, "forwarded") or 0) for each in hashes)


def wanted(fields: Fields, number: int) -> Counter[str]:
    """Return what of an old entry is to be in the new streams: an update, or each that it removes.

    What is refused as a removal comes as an update, which is refused, too.
    """
    if "data" in fields:
        return Counter([fields["data"]])
    if "remove" not in fields:
        return Counter(["nothing"])
    removed = json.loads(fields["remove"])
    if any(partition_of(each[1], 4) != number for each in removed):
        return Counter([fields["remove"]])
    return Counter(map(json.dumps, removed))


def was_forwarded(client: Redis, keys: Keys, number: int, entry_id: str, fields: Fields) -> bool:
    """Tell whether the old worker had forwarded an entry, and was stopped before its commit."""
    with suppress(KeyError, ValueError):
        home = partition_of(json.loads(fields["data"])["id"], 4)
        noted = client.hget(keys.partition(home).partition, f"from:{number}")
        return noted is not None and as_numbers(entry_id) <= as_numbers(noted.partition("/")[2])
    return False


def as_numbers(entry_id: str) -> tuple[int, ...]:
    """Return an ID in a form that can be compared."""
    return tuple(map(int, entry_id.split("-")))


def assert_carried_over(
    client: Redis, old: tuple[Keys, list[str]], new: tuple[Keys, int]
) -> Counter[str]:
    """Each entry after a cursor is in the right new stream once, and in the order of its own."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for number in range(new[1]):
        order: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        for _, fields in client.xrange(new[0].events(number)):
            origin = fields.get("from")
            if origin is None:
                continue
            sender, _, entry_id = origin.partition("/")
            order[sender].append(as_numbers(entry_id))
            removed = json.loads(fields.get("remove", "[]"))
            assert all(partition_of(each[1], new[1]) == number for each in removed)
            found[origin].update(map(json.dumps, removed))
            if not removed:
                found[origin].update([fields.get("data", "nothing")])
        assert all(ids == sorted(set(ids)) for ids in order.values())
    before = {
        f"{number}/{entry_id}": wanted(fields, number)
        for number, cursor in enumerate(old[1])
        for entry_id, fields in client.xrange(old[0].events(number), f"({cursor}", "+")
        if not was_forwarded(client, old[0], number, entry_id, fields)
    }
    assert found == before
    return sum(found.values(), Counter())


def has_copied(client: Redis, keys: Keys, number: int) -> bool:
    """Tell whether so many entries were copied."""
    return forwarded(client, keys, 4) >= number


@pytest.mark.parametrize(
    ("old", "new", "partitions"),
    [
        (Keys("status", "single"), Keys(MOVED, "cluster"), 7),
        (Keys("status", "cluster"), Keys(MOVED, "single"), 2),
    ],
    ids=["growing", "shrinking"],
)
def test_killed_again_and_again(
    server: Server, tmp_path: Path, old: Keys, new: Keys, partitions: int
) -> None:
    """While producers write, with a kill -9 of all that can be killed: none is lost or doubled."""
    with server.client() as client:
        _grow(server, client, tmp_path, (old, new, partitions))


def _grow(server: Server, client: Redis, tmp_path: Path, move: tuple[Keys, Keys, int]) -> None:
    old, new, partitions = move
    url, moved = ["--redis-url", server.url], ["--prefix", MOVED, "--layout", new.layout]
    file, begun = tmp_path / "snapshot", str(tmp_path / "begun")
    rules = history(tmp_path)
    with tracker(tmp_path / "old", *url, "--layout", old.layout, "--rules", rules) as worker:
        wait_until(lambda: client.exists(*map(old.events, range(4))) == 4)
        produce(client, old, seed=7, count=600)
        wait_until(lambda: forwarded(client, old, 4) > 1)
        assert worker.stop() == 0  # with some unread
    before = forwarded(client, old, 4)
    assert invoked("export", str(file), *url).code == 0
    number = ["--partitions", str(partitions)]
    assert invoked("import", str(file), *number, *moved, *url).code == 0
    assert invoked("export", begun, "--prefix", MOVED, *url).code == 0
    environment_of_new = {"STATUS_PARTITIONS": str(partitions)}
    with producing(server, old):
        for _ in range(2):
            with (
                tracker(tmp_path / "new", *url, *moved, **environment_of_new) as worker,
                bridging(server) as bridge,
            ):
                more = forwarded(client, old, 4) + 300
                wait_until(partial(has_copied, client, old, more))
                bridge.kill()
                assert bridge.wait(DEADLINE) == -signal.SIGKILL
                worker.kill()
    with (
        tracker(tmp_path / "new", *url, *moved, **environment_of_new),
        bridging(server, "--idle", "1s") as bridge,
    ):
        out, _ = bridge.communicate(timeout=DEADLINE)
        assert (bridge.returncode, "caught up after" in out) == (0, True), out
        wait_until(partial(drained, client, new, partitions), within=60)
    assert forwarded(client, old, 4) - before > 600
    assert not client.exists(*map(old.lease, range(4)))
    carried = assert_carried_over(client, (old, cursors(file)), (new, partitions))
    assert carried["nothing"] > 0
    # What became of them, by the workers' own fold of the new streams.
    rebuilt = invoked("rebuild", "--check", "--from", begun, "--prefix", MOVED, *url)
    assert rebuilt.code == 0, rebuilt


def test_what_cannot_be_bridged(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """Old workers that went on, a deployment of its own, and one and the same: each is said."""
    old = Keys("status", "single")
    url = ["--redis-url", server.url]
    bridge = ["bridge", *url, "--from-prefix", "status", "--idle", "1s", "--prefix"]
    with tracker(tmp_path / "old", *url):
        wait_until(lambda: redis_client.exists(*map(old.events, range(4))) == 4)
        file = str(tmp_path / "snapshot")
        assert invoked("export", file, *url).code == 0
        assert invoked("import", file, "--prefix", MOVED, *url).code == 0
        add(redis_client, update("a", "pending", NOW), keys=old)
        wait_until(lambda: redis_client.exists("status:task:a"))
    found = invoked(*bridge, MOVED)
    assert found.code == 78
    assert "1 entries were applied after the export: stop the old workers" in found.err
    redis_client.hdel(f"{MOVED}:meta", "imported")
    found = invoked(*bridge, MOVED)
    assert (found.code, "does not say what it was imported from" in found.err) == (78, True)
    assert invoked(*bridge, "status").code == 2
