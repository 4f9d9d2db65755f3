"""A comparison that finds nothing proves nothing: here it has something to find."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from status_tracker.keys import Keys

from tests.acceptance.tracker import drained, tracker
from tests.chaos.effects import check
from tests.chaos.producer import BATCH, producing
from tests.chaos.system import FindingError
from tests.servers import Redis, Server, wait_until

KEYS = Keys("status", "single")
OWN = KEYS.partition(0)


def lose(client: Redis, key: str) -> None:
    """Delete the first entry of a stream."""
    [(first, _)] = client.xrange(key, count=1)
    client.xdel(key, first)


def as_bytes(fields: dict[str, str]) -> dict[str, bytes]:
    """Return the fields of an entry as they were: some hold bytes that are no text."""
    return {name: text.encode(errors="surrogateescape") for name, text in fields.items()}


def double(client: Redis, key: str) -> None:
    """Add the first entry of a stream again."""
    [(_, fields)] = client.xrange(key, count=1)
    client.xadd(key, as_bytes(fields))


def reorder(client: Redis, key: str) -> None:
    """Move an entity's first change to the end, after its others."""
    entries = client.xrange(key)
    changes = [json.loads(fields["data"]) for _, fields in entries]
    entities = [(change["kind"], change["id"]) for change in changes]
    first = next(place for place, each in enumerate(entities) if each in entities[place + 1 :])
    client.xdel(key, entries[first][0])
    client.xadd(key, as_bytes(entries[first][1]))


def miscount(client: Redis, key: str) -> None:
    """Count one too many."""
    client.hincrby(key, "pending", 1)


def misplace(client: Redis, key: str) -> None:
    """Take an id out of its set."""
    client.zpopmin(key)


def mistake(client: Redis, key: str) -> None:
    """Change a status."""
    status = json.loads(client.get(key))
    client.set(key, json.dumps({**status, "updatedAt": status["updatedAt"] + 1}))


NO_CHANGE = "0 lost, 0 doubled, 0 reordered\n(.*\n)*.*in _assert_"
A_STATUS = "status:task:*"

WRONGS: list[tuple[Callable[[Redis, str], None], str, str]] = [
    (lose, OWN.changes, "1 lost, 0 doubled, 0 reordered"),
    (double, OWN.changes, "0 lost, 1 doubled, 0 reordered"),
    (reorder, OWN.changes, "0 lost, 0 doubled, 1 reordered"),
    (lose, OWN.rejected, "1 lost, 0 doubled, 0 reordered"),
    (double, OWN.rejected, "0 lost, 1 doubled, 0 reordered"),
    (miscount, OWN.counts("task"), f"{NO_CHANGE}index"),
    (misplace, OWN.phase("task", "pending"), f"{NO_CHANGE}index"),
    (mistake, A_STATUS, f"{NO_CHANGE}statuses"),
]


def test_what_is_wrong_is_found(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """An effect that is lost, doubled, in another order or another one; an update that is lost."""
    with tracker(tmp_path, "--redis-url", server.url):
        wait_until(lambda: drained(redis_client, KEYS))
        with producing(lambda _: server, KEYS, 1, 2_000.0) as producer:
            wait_until(lambda: redis_client.xlen(OWN.changes) > 700)
        wait_until(lambda: drained(redis_client, KEYS) and drained(redis_client, KEYS))
    checked = check(redis_client, KEYS, producer.added, flushed=False)
    assert checked.events >= producer.added
    assert checked.effects > 1_000

    for wrong, pattern, message in WRONGS:
        key = min(redis_client.scan_iter(pattern, count=10_000))
        dump = redis_client.dump(key)
        wrong(redis_client, key)
        with pytest.raises(FindingError, match=f"^{message}"):
            check(redis_client, KEYS, producer.added, flushed=False)
        redis_client.restore(key, 0, dump, replace=True)
    check(redis_client, KEYS, producer.added, flushed=False)

    with pytest.raises(FindingError, match="are in no stream"):
        check(redis_client, KEYS, producer.added + BATCH, flushed=False)
