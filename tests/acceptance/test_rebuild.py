"""`status-tracker rebuild`: what a worker published is what its streams say; else it is found."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from status_tracker.keys import Keys, Layout, partition_of

from tests.acceptance.producers import produce
from tests.acceptance.test_moving import history
from tests.acceptance.tracker import drained, tracker
from tests.command import Ran, invoked
from tests.events import NOW
from tests.model import KINDS
from tests.servers import Redis, Server, wait_until


def rebuilt(server: Server, *options: str) -> Ran:
    """Compare."""
    return invoked("rebuild", "--check", "--json", *options, "--redis-url", server.url)


def found(ran: Ran) -> dict[tuple[str, str], str]:
    """Return what differs: kind and id → what of it."""
    assert not any(each["problem"] for each in ran.documents), ran
    return {
        (each["kind"], each["id"]): each["what"]
        for document in ran.documents
        for each in document["examples"]
    }


def revise(server: Server, rules: str) -> None:
    """Let each failed task be tried again once only, and keep other histories."""
    file = Path(rules).with_name("revised.toml")
    text = Path(rules).read_text().replace("max_retries = 3 ", "max_retries = 1 ")
    file.write_text(text.replace("history = 3", "history = 2"))
    assert invoked("rules", "apply", str(file), "--yes", "--redis-url", server.url).code == 0


@pytest.mark.parametrize("layout", ["single", "cluster"])
def test_what_a_worker_published(
    server: Server, redis_client: Redis, tmp_path: Path, layout: Layout
) -> None:
    """From a snapshot and from the beginning, by the revisions that there were, nothing differs.

    What somebody broke is found, and restored while the worker goes on.
    """
    keys, rules, file = Keys("status", layout), history(tmp_path), str(tmp_path / "snapshot")
    url = ["--redis-url", server.url]
    with tracker(tmp_path / "worker", *url, "--layout", layout, "--rules", rules):
        wait_until(lambda: redis_client.exists(*map(keys.events, range(4))) == 4)
        produce(redis_client, keys, seed=1, count=600)
        assert invoked("export", file, *url).code == 0
        produce(redis_client, keys, seed=1, count=900)
        wait_until(partial(drained, redis_client, keys))
        revise(server, rules)
        wait_until(lambda: redis_client.hget(keys.partition(0).partition, "revision") == "2")
        produce(redis_client, keys, seed=1, count=1_200)
        wait_until(partial(drained, redis_client, keys))
        for options in (["--from", file], []):
            ran = rebuilt(server, *options)
            assert (ran.code, found(ran)) == (0, {})
            assert sum(each["entries"] for each in ran.documents) > 2_000
        wanted = break_some(redis_client, keys)
        for options in (["--from", file], []):
            ran = rebuilt(server, *options)
            assert (ran.code, found(ran)) == (1, wanted)
        ran = invoked("rebuild", "--apply", "--from", file, "--yes", *url)
        assert ran.out.endswith("restored: 5; changed meanwhile, and left as they are: 0\n")
        assert ran.code == 0
        # The worker's memory may have been of what was wrong.
        produce(redis_client, keys, seed=1, count=300)
        wait_until(partial(drained, redis_client, keys))
        ran = rebuilt(server, "--from", file)
        assert (ran.code, found(ran)) == (0, {})
        assert_counted(redis_client, keys)
    lost = keys.events(2)
    redis_client.xtrim(lost, maxlen=1, approximate=False)
    ran = rebuilt(server)
    problems = {each["partition"]: each["problem"] for each in ran.documents if each["problem"]}
    assert ran.code == 1
    assert problems.keys() == {2}
    assert problems[2].startswith(f"{lost}: entries after 0-0 were trimmed away")


def assert_counted(client: Redis, keys: Keys) -> None:
    """Each count is the size of its set."""
    for own in map(keys.partition, range(4)):
        for kind, table in KINDS.items():
            counts = client.hgetall(own.counts(kind))
            for phase in table["phases"]:
                assert int(counts.get(phase, 0)) == client.zcard(own.phase(kind, phase))


def break_some(client: Redis, keys: Keys) -> dict[tuple[str, str], str]:
    """Make an entity wrong in each way; return what is to be found."""
    ids = [f"1-{number}é" for number in range(20)]
    entities: list[tuple[Any, str, str]] = []
    for each in ids:
        own = keys.partition(partition_of(each, 4))
        if text := client.get(own.status("task", each)):
            entities.append((own, each, json.loads(text)["phase"]))
    (one, a, _), (two, b, phase), (three, c, _), (four, d, left) = entities[:4]
    client.set(one.status("task", a), '{"phase":"pending","retries":0,"updatedAt":1}')
    client.zincrby(two.phase("task", phase), 1, b)
    client.lpop(three.history("task", c))
    client.delete(four.status("task", d), four.history("task", d))
    client.zrem(four.phase("task", left), d)
    own = keys.partition(partition_of("new", 4))
    client.set(own.status("task", "new"), "{}")
    client.zadd(own.phase("task", "pending"), {"new": NOW})
    return {
        ("task", a): "status",
        ("task", b): "score",
        ("task", c): "history",
        ("task", d): "missing",
        ("task", "new"): "extra",
    }
