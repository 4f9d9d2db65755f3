"""`export` and `import`: what is published here is published there, whatever happens meanwhile."""

import gzip
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from status_tracker.connection.client import Client, Command
from status_tracker.connection.url import connect
from status_tracker.errors import UnavailableError
from status_tracker.keys import Keys, Layout, partition_of
from status_tracker.maintenance.export import Copy, copy_entities
from status_tracker.maintenance.snapshot import bytes_of, entity_of
from status_tracker.maintenance.spool import Spool
from status_tracker.testing.line import Line

from tests.command import Ran, invoked
from tests.copies import Entity, Published, published
from tests.events import NOW, id_in, update
from tests.integration.test_commit import fill
from tests.integration.test_history import RULES_WITH_HISTORY
from tests.line import deployed, meta_of, server_line
from tests.publishing import Publisher
from tests.servers import Redis, Server

MOVED = "moved"

IDS = ['"quoted"', "back\\slash", "é", "日本", "💥", "a:b", "x" * 256, "'"]
DOCUMENTS = [b"no JSON", b"\xff\xfe", b'{"a":"\\n\\u00e9"}', b'"\n"', b"", b"\x00", "é".encode()]


def run(server: Server, *arguments: str) -> Ran:
    """Run the command within this process."""
    return invoked(*arguments, "--redis-url", server.url)


def bytes_client(server: Server) -> Any:
    """Return a client whose replies are bytes."""
    client = server.client()
    client.connection_pool.connection_kwargs["decode_responses"] = False
    return client


def there(server: Server, keys: Keys, partitions: int = 4) -> Published:
    """Return what a deployment publishes."""
    with bytes_client(server) as client:
        return published(client, keys, partitions)


def fill_in(publisher: Publisher) -> None:
    """Publish some of everything, also what nobody but a person with redis-cli writes."""
    for number, entity_id in enumerate([*IDS, *(f"t-{each}" for each in range(700))]):
        publisher.change(entity_id, "pending", errorMessage='"\n\x00é')
        if number % 3:
            publisher.change(entity_id, "waiting", updatedAt=NOW + number + 0.25)
        if number % 5 == 0:
            publisher.change(entity_id, "uploading", kind="asset")
    own = publisher.deployment.keys.partition
    with publisher.client.pipeline(transaction=False) as pipeline:
        for number, document in enumerate(DOCUMENTS):
            entity_id = f"t-{number}"
            part = partition_of(entity_id, publisher.deployment.partitions)
            pipeline.set(own(part).status("task", entity_id), document)
            pipeline.lpush(own(part).history("task", entity_id), document)
        # In two sets, and in one without a status.
        for entity_id in ("t-8", "gone"):
            part = partition_of(entity_id, publisher.deployment.partitions)
            pipeline.zadd(own(part).phase("task", "running"), {entity_id: 1e300})
        pipeline.execute()


@pytest.fixture(params=["single", "cluster"])
def publisher(request: pytest.FixtureRequest, redis_client: Redis) -> Publisher:
    """A deployment of each layout, with rules that keep histories."""
    return Publisher(redis_client, deployed(RULES_WITH_HISTORY, layout=request.param, partitions=4))


@pytest.mark.parametrize(
    ("partitions", "layout"), [(4, "single"), (4, "cluster"), (7, "single"), (1, "cluster")]
)
def test_there_and_elsewhere(
    server: Server, publisher: Publisher, tmp_path: Path, partitions: int, layout: Layout
) -> None:
    """Statuses, scores, histories are the same to the byte, with other partitions and keys."""
    fill_in(publisher)
    cursors = ["5-3", f"{NOW}-7", f"{NOW}-12", "0-0"]
    for number, cursor in enumerate(cursors):
        own = publisher.deployment.keys.partition(number)
        publisher.client.hset(own.partition, mapping={"cursor": cursor, "entries": 9})
    file = str(tmp_path / "snapshot")
    assert run(server, "export", file).lines[0].startswith("exported: 8")
    wanted = ["--partitions", str(partitions), "--layout", layout, "--prefix", MOVED]
    assert run(server, "import", file, *wanted).code == 0
    before = there(server, publisher.deployment.keys)
    after = there(server, Keys(MOVED, layout), partitions)
    assert after._replace(counts=before.counts) == before
    sizes = {
        (kind, phase): sum(
            phase in scores for (of, _), scores in after.scores.items() if of == kind
        )
        for kind, phase in after.counts
    }
    assert after.counts == sizes
    assert len(before.statuses) > 800
    meta = publisher.client.hgetall(f"{MOVED}:meta")
    ended = {"epoch": "0", "here": 9}
    assert json.loads(meta.pop("imported"))["partitions"] == [ended] * 4
    there_before = publisher.client.hgetall("status:meta")
    assert meta == there_before | {"partitions": str(partitions), "layout": layout}
    for number in range(partitions):
        own = Keys(MOVED, layout).partition(number)
        cursor = f"{NOW}-12"  # the latest: what comes is later than all that was published
        fields = {"cursor": cursor, "entries": "0", "revision": "1", "revision:1": cursor}
        assert publisher.client.hgetall(own.partition) == fields
        stream = publisher.client.xinfo_stream(own.events)
        assert (stream["length"], stream["last-generated-id"]) == (0, cursor)
        [group] = publisher.client.xinfo_groups(own.events)
        assert (group["name"], group["last-delivered-id"], group["lag"]) == ("tracker", cursor, 0)


def test_the_file(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """It is the same on standard output and compressed; and there only when it is whole."""
    publisher = Publisher(redis_client)
    publisher.change("a", "pending")
    plain, zipped = tmp_path / "plain", tmp_path / "zipped"
    assert run(server, "export", str(plain)).lines == ["exported: 1 entities of 4 partitions"]
    assert run(server, "export", str(zipped), "--gzip").code == 0
    printed = run(server, "export").out
    for lines in (plain.read_bytes(), gzip.decompress(zipped.read_bytes()), printed.encode()):
        documents = [json.loads(line) for line in lines.splitlines()]
        assert [each["type"] for each in documents][-2:] == ["entity", "end"] or len(documents) == 7
        assert documents[0]["rules"]["1"] == meta_of(publisher.deployment)["rules:1"]
    assert not list(tmp_path.glob("*.part"))
    assert run(server, "import", str(zipped), "--prefix", MOVED).code == 0
    found = run(server, "export", str(tmp_path / "no" / "folder"))
    assert (found.code, found.out) == (74, "")
    assert found.err.endswith("folder: cannot be written: No such file or directory\n")
    cut = tmp_path / "cut"
    cut.write_bytes(zipped.read_bytes()[:-20])
    assert run(server, "import", str(cut), "--prefix", "other").code == 65
    assert not redis_client.keys("other:*")


def test_ids_that_no_entity_can_have(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """Somebody's hand put them into the index: they are left out, and that is said."""
    Publisher(redis_client).change("a", "pending")
    redis_client.zadd("status:phase:task:pending", {"a b": 1, b"\xff": 2})
    found = run(server, "export", str(tmp_path / "file"))
    assert found.code == 0
    assert found.err == "left out: 2 ids in the index that no entity can have there\n"


@pytest.mark.parametrize("key", ["meta", "events:{3}", "partition:{0}", "changes"])
def test_a_deployment_that_is_there(
    server: Server, redis_client: Redis, tmp_path: Path, key: str
) -> None:
    """Nothing of it is touched, however little of it there is."""
    Publisher(redis_client).change("a", "pending")
    file = str(tmp_path / "file")
    assert run(server, "export", file).code == 0
    redis_client.hset(f"{MOVED}:{key}", "not", "ours")
    found = run(server, "import", file, "--prefix", MOVED)
    assert found.code == 78
    assert found.err.startswith(f"status-tracker: {MOVED}:{key}")
    assert redis_client.keys(f"{MOVED}:*") == [f"{MOVED}:{key}"]


class Interrupted:
    """A client that does something before each of its calls."""

    is_cluster = False

    def __init__(self, client: Client, first: Callable[[Sequence[Command]], Any]) -> None:
        self._client = client
        self._first = first

    async def execute(self, *command: str | bytes | int) -> Any:
        """Do it, then what is asked."""
        await self._first([command])
        return await self._client.execute(*command)

    async def execute_all(self, commands: Sequence[Command]) -> list[Any]:
        """Do it, then what is asked."""
        await self._first(commands)
        return await self._client.execute_all(commands)

    async def close(self) -> None:
        """Leave it open: it is not ours."""


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """The client of a command."""
    client = connect(server.url)
    yield client
    await client.close()


@pytest.fixture(params=["single", "cluster"])
async def line(request: pytest.FixtureRequest, redis_client: Redis, client: Client) -> Line:
    """Partition 0 of a deployment, with 300 tasks."""
    found = server_line(client, rules=RULES_WITH_HISTORY, layout=request.param)
    deployment = deployed(RULES_WITH_HISTORY, layout=request.param, partitions=4)
    redis_client.hset(found.builder.deployment.keys.meta, mapping=meta_of(deployment))
    await found.attach()
    ids = [id_in(0, prefix=f"t{number}-") for number in range(300)]
    fill(redis_client, found.own.events, *(update(each, "pending") for each in ids))
    await found.turn()
    return found


def copied(spool: Spool) -> dict[Entity, tuple[bytes | None, list[str], list[bytes]]]:
    """Return what a spool has of partition 0: status, phases, history."""
    entities = [entity_of(each.line) for each in spool.of(0)]
    return {
        (each.kind, each.id): (
            None if each.status is None else bytes_of(each.status),
            list(each.index),
            list(map(bytes_of, each.history)),
        )
        for each in entities
    }


def kept(server: Server, line: Line) -> dict[Entity, tuple[bytes | None, list[str], list[bytes]]]:
    """Return what the keys have of it."""
    found = there(server, line.builder.deployment.keys)
    return {
        each: (found.statuses.get(each), list(found.scores[each]), found.histories.get(each, []))
        for each in found.scores
    }


async def exported(client: Client, line: Line, spool: Spool) -> Copy:
    """Copy the entities."""
    deployment = deployed(
        RULES_WITH_HISTORY, layout=line.builder.deployment.keys.layout, partitions=4
    )
    return await copy_entities(client, deployment, spool, lambda _: None)


async def test_commits_meanwhile(
    server: Server, redis_client: Redis, client: Client, line: Line
) -> None:
    """Between any two calls entities come, change, and go: the copy is of one cursor."""
    steps = iter(range(40))

    async def commit(_: Sequence[Command]) -> None:
        step = next(steps, None)
        if step is None:
            return
        at = NOW + 1 + step
        ids = [id_in(0, prefix=f"t{number}-") for number in range(step, 300, 7)]
        new = id_in(0, prefix=f"new{step}-")
        wanted = [update(each, "waiting", at) for each in ids] + [update(new, "pending"), b"junk"]
        fill(redis_client, line.own.events, *wanted)
        removal = [["task", id_in(0, prefix=f"t{300 - 3 * step - 1}-")]]
        redis_client.xadd(line.own.events, {"remove": json.dumps(removal)})
        while (await line.turn()).entries:
            pass

    with Spool() as spool:
        copy = await exported(Interrupted(client, commit), line, spool)
        assert copied(spool) == kept(server, line)
        assert copy.fields[0] == redis_client.hgetall(line.own.partition)
        assert next(steps, None) is None
        assert not redis_client.exists("status:lease:{0}")


async def test_a_worker_that_is_always_faster(
    server: Server, redis_client: Redis, client: Client, line: Line
) -> None:
    """Its lease is taken for a moment: so a slow link is no reason to go on for ever."""
    names = set()

    async def commit(_: Sequence[Command]) -> None:
        owner = redis_client.get("status:lease:{0}")
        names.add(owner)
        if owner is None and len(names) == 1:
            fill(redis_client, line.own.events, update(id_in(0), "pending"), b"junk")
            await line.turn()

    with Spool() as spool:
        await exported(Interrupted(client, commit), line, spool)
        assert copied(spool) == kept(server, line)
    [name] = names - {None}
    assert name.startswith("export-")
    assert not redis_client.exists("status:lease:{0}")


@pytest.mark.parametrize("lose", ["trim", "replace"])
async def test_entries_that_are_gone(
    redis_client: Redis, client: Client, line: Line, lose: str
) -> None:
    """Nobody knows what they changed: that is said, and nothing is exported."""
    lost = False
    fill(redis_client, line.own.events, *(update(id_in(0), "pending"), b"junk"))

    async def first(commands: Sequence[Command]) -> None:
        nonlocal lost
        if lost or commands[0][0] != "ZSCAN":
            return
        lost = True
        await line.turn()
        if lose == "trim":
            redis_client.xtrim(line.own.events, maxlen=1, approximate=False)
        else:
            redis_client.hincrby(line.own.partition, "epoch", 1)

    with Spool() as spool, pytest.raises(UnavailableError) as refused:
        await exported(Interrupted(client, first), line, spool)
    assert str(refused.value).startswith("status:events:{0}: entries after ")
