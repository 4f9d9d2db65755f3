"""A deployment that moves: exported while updates are applied, imported whatever is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from status_tracker.keys import Keys, partition_of
from status_tracker.maintenance.snapshot import End, Entity, Header, Line, Part, line_of
from status_tracker.settings import default_file

from tests.acceptance.producers import produce
from tests.acceptance.tracker import drained, tracker
from tests.command import COMMAND, DEADLINE, Ran, environment, invoked, ran
from tests.copies import Published, published
from tests.events import NOW, add, update
from tests.line import deployed, meta_of
from tests.publishing import Publisher
from tests.servers import Redis, Server, wait_until

MOVED = "status:moved"
ENTITIES = 30_000


def cursors(path: Path) -> list[str]:
    """Return the cursors of the partitions in a snapshot, in their order."""
    documents = map(json.loads, path.read_text().splitlines())
    return [each["fields"]["cursor"] for each in documents if each["type"] == "partition"]


def there(server: Server, keys: Keys, partitions: int) -> Published:
    """Return what a deployment publishes."""
    with server.client() as client:
        client.connection_pool.connection_kwargs["decode_responses"] = False
        return published(client, keys, partitions)


def carry_over(client: Redis, old: Keys, after: list[str], new: Keys, partitions: int) -> int:
    """Add what came after cursors to the streams of another deployment; return how much."""
    carried = 0
    for home, cursor in enumerate(after):
        for _, fields in client.xrange(old.events(home), f"({cursor}", "+"):
            for entity_id, entry in entries_of(fields):
                # What was in another partition's stream was forwarded, and comes from there.
                if partition_of(entity_id, len(after)) == home:
                    client.xadd(new.events(partition_of(entity_id, partitions)), entry)
                    carried += 1
    return carried


def entries_of(fields: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Return an entry as entries of one entity each, with its id."""
    with suppress(ValueError, KeyError, TypeError):
        if "data" in fields:
            return [(json.loads(fields["data"])["id"], {"data": fields["data"]})]
        removed = json.loads(fields["remove"])
        return [(each[1], {"remove": json.dumps([each])}) for each in removed]
    return []


class Move(NamedTuple):
    """From where to where."""

    old: Keys
    new: Keys
    partitions: int


def lag(client: Redis, keys: Keys) -> int:
    """Return how many entries of the first stream are not read."""
    return int(client.xinfo_groups(keys.events(0))[0]["lag"])


@contextmanager
def producing(server: Server, keys: Keys) -> Iterator[None]:
    """Add updates as fast as a worker takes them, while the block runs."""
    stop = threading.Event()

    def add_all() -> None:
        with server.client() as client:
            for seed in count():
                produce(client, keys, seed=seed, count=500)
                wait_until(lambda: stop.is_set() or lag(client, keys) < 200)
                if stop.is_set():
                    return

    thread = threading.Thread(target=add_all)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "move",
    [
        Move(Keys("status", "single"), Keys(MOVED, "cluster"), 7),
        Move(Keys("status", "cluster"), Keys(MOVED, "single"), 3),
    ],
    ids=["to cluster", "to single"],
)
def test_under_load(server: Server, redis_client: Redis, tmp_path: Path, move: Move) -> None:
    """Exported while updates flow; both then go on with the same entries, and stay equal."""
    old, new, partitions = move
    url, file = ["--redis-url", server.url], tmp_path / "snapshot"
    options = ["--layout", old.layout, "--rules", history(tmp_path)]
    with tracker(tmp_path / "old", *url, *options):
        wait_until(lambda: redis_client.exists(*map(old.events, range(4))) == 4)
        with producing(server, old):
            wait_until(lambda: redis_client.xlen(old.events(0)) > 500)
            assert ran(["export", str(file), *url]).code == 0
        wait_until(partial(drained, redis_client, old), within=60)
    options = ["--prefix", MOVED, "--layout", new.layout]
    assert ran(["import", str(file), "--partitions", str(partitions), *options, *url]).code == 0
    assert carry_over(redis_client, old, cursors(file), new, partitions) > 100
    with tracker(tmp_path / "new", *url, *options, STATUS_PARTITIONS=str(partitions)):
        wait_until(partial(drained, redis_client, new, partitions), within=60)
    before, after = there(server, old, 4), there(server, new, partitions)
    # A change says which entry caused it, and those of the new streams have other IDs.
    assert after._replace(histories={}) == before._replace(histories={})
    assert without_events(after) == without_events(before)


def without_events(found: Published) -> dict[tuple[str, str], list[Any]]:
    """Return histories, but for the IDs of the entries."""
    return {
        entity: [{**json.loads(change), "event": ""} for change in kept]
        for entity, kept in found.histories.items()
    }


def history(folder: Path) -> str:
    """Write the shipped rules with a history; return the file's path."""
    file = folder / "rules.toml"
    file.write_text(default_file("rules.toml").read_text().replace("history = 0", "history = 3"))
    return str(file)


def snapshot(path: Path, name: str = "one") -> Path:
    """Write a snapshot of thousands of tasks in one partition."""
    fields = meta_of(deployed())
    header = Header(
        version=1,
        snapshot=name,
        prefix="status",
        partitions=1,
        layout="single",
        revision=1,
        rules={1: fields["rules"] or ""},
    )
    status = f'{{"phase":"pending","retries":0,"updatedAt":{NOW}}}'
    entities = (
        Entity(kind="task", id=f"t-{each}", status=status, index={"pending": str(NOW + each)})
        for each in range(ENTITIES)
    )
    part = Part(number=0, entities=ENTITIES, fields={"cursor": f"{NOW}-5"})
    lines: list[Line] = [header, part, *entities, End(snapshot=name, entities=ENTITIES)]
    path.write_bytes(b"".join(line_of(each) + b"\n" for each in lines))
    return path


def importing(
    server: Server, client: Redis, file: Path, *, after: str | None = None
) -> subprocess.Popen[bytes]:
    """Start an import into four partitions; return it once it has written something."""
    command = ["import", str(file), "--partitions", "4", "--redis-url", server.url]
    process = subprocess.Popen(
        [*COMMAND, *command], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_until(lambda: client.hget("status:partition:{0}", "imported") != after)
    return process


def imported(server: Server, file: Path) -> Ran:
    """Import to the end."""
    return invoked("import", str(file), "--partitions", "4", "--redis-url", server.url)


def test_killed_and_stopped(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """Nobody uses what is half filled. The last one that is started goes on where others were."""
    file, other = snapshot(tmp_path / "one"), snapshot(tmp_path / "other", "other")
    url = ["--redis-url", server.url]
    with importing(server, redis_client, file) as stopped:
        stopped.send_signal(signal.SIGSTOP)
        try:
            half = "importing: status:meta says that the import of snapshot one was not finished"
            with tracker(tmp_path / "worker", *url) as worker:
                assert worker.exit_code() == 78
                assert half in worker.log
            assert half in invoked("counts", *url).err
            refused = imported(server, other)
            assert (refused.code, "created with one: go on with" in refused.err) == (78, True)
            line = redis_client.hget("status:partition:{0}", "imported")
            with importing(server, redis_client, file, after=line) as killed:
                killed.kill()
                assert killed.wait(DEADLINE) == -signal.SIGKILL
            made = "the new deployment has partitions = 4, layout = single"
            assert imported(server, file).lines == [f"imported: {ENTITIES:,} entities; {made}"]
        finally:
            stopped.send_signal(signal.SIGCONT)
        # 69: it hung for so long that it gives its connection up.
        assert stopped.wait(DEADLINE) in (69, 78)
        assert stopped.stderr is not None
        assert re.search(b"another import goes on with this one|no answer", stopped.stderr.read())
    found = there(server, Keys("status", "single"), 4)
    assert {each: int(scores["pending"]) for (_, each), scores in found.scores.items()} == {
        f"t-{each}": NOW + each for each in range(ENTITIES)
    }
    assert found.statuses.keys() == found.scores.keys()
    assert found.counts == {("task", "pending"): ENTITIES}
    with tracker(tmp_path / "worker", *url):
        add(redis_client, update("t-7", "waiting", NOW + 8), keys=Keys("status", "single"))
        wait_until(lambda: "waiting" in redis_client.get("status:task:t-7"))
    assert imported(server, file).code == 78


def test_a_full_disk(server: Server, redis_client: Redis, tmp_path: Path) -> None:
    """Nothing has the name of the file, or is left of it; what was there before stays."""
    Publisher(redis_client).change("a", "pending")
    file = tmp_path / "snapshot"
    file.write_text("older")
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    program = f"{limit}; os.execv(sys.argv[1], sys.argv[1:])"
    command = [*COMMAND, "export", str(file), "--redis-url", server.url]
    result = subprocess.run(
        [sys.executable, "-c", program, *command],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    said = f"status-tracker: {file}: cannot be written: File too large\n"
    assert (result.returncode, result.stdout, result.stderr) == (74, "", said)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["older"]


def test_what_is_no_file_stays_what_it_is(
    server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """A pipe is written to: root would otherwise put a file in the place of a device."""
    Publisher(redis_client).change("a", "pending")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(
        [*COMMAND, "export", str(pipe), "--redis-url", server.url],
        env=environment(),
        stdout=subprocess.DEVNULL,
    ) as exporting:
        assert json.loads(pipe.read_bytes().splitlines()[-1])["entities"] == 1
    assert exporting.returncode == 0
    assert [each.is_fifo() for each in tmp_path.iterdir()] == [True]
