"""The real command as a process, and what is asked of the keys it leaves."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from status_tracker.keys import Keys

from tests.model import KINDS, Model, Rejection, canonical
from tests.security import as_user
from tests.servers import Redis, wait_until
from tests.wire import Document

SOON = {"STATUS_LEASE_TTL": "2s", "STATUS_HEARTBEAT": "100ms"}
"""For tests that kill workers: the default leaves a dead worker's partitions alone for 10 s."""


NEVER_REVISED: Mapping[int, Mapping[str, Document]] = {}

LINGER = "STATUS_LINGER"
"""The one variable of ours that a worker inherits: with "0ms", all these tests are of that."""


class Tracker:
    """One `status-tracker run`, with its log in a file; where a server has users, as the worker."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        folder.mkdir(exist_ok=True)
        self._log = folder / "tracker.log"
        clean = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith("STATUS_") or name == LINGER
        }
        arguments = tuple(as_user("worker", each) for each in arguments)
        environment = {name: as_user("worker", text) for name, text in environment.items()}
        with self._log.open("ab") as log:
            self._begins = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "status_tracker", "run", *arguments],
                cwd=folder,
                env={**clean, "PYTHONPATH": str(Path(__file__).parents[2]), **SOON, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What was said in this folder since it started."""
        return self._log.read_bytes()[self._begins :].decode()

    def events(self, name: str, **fields: object) -> list[Document]:
        """Return what the log has of an event with these fields, as documents."""
        lines = [line for line in self.log.splitlines(keepends=True) if line[:1] == "{"]
        # The last line may be on its way.
        said = [json.loads(line) for line in lines if line.endswith("\n")]
        return [each for each in said if {**each, "event": name, **fields} == each]

    def tells(self, name: str, **fields: object) -> Document:
        """Wait until the log has an event with these fields; return the first one."""
        wait_until(lambda: self.events(name, **fields) or self._process.poll() is not None)
        found = self.events(name, **fields)
        assert found, self.log
        return found[0]

    def reads(self, *numbers: int) -> None:
        """Wait until it says that it reads these partitions."""
        self.tells("share_changed", reading=list(numbers))

    def says(self, text: str) -> None:
        """Wait until the log has a text."""
        wait_until(lambda: text in self.log or self._process.poll() is not None)
        assert text in self.log, self.log

    def exit_code(self, within: float = 15.0) -> int:
        """Wait until it ends by itself, for so many seconds at most."""
        return self._process.wait(within)

    def stop(self, number: int = signal.SIGTERM, within: float = 15.0) -> int:
        """Tell it to stop; return its exit code."""
        self.send(number)
        return self.exit_code(within)

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def pause(self) -> None:
        """Have it do nothing until it is told to go on."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on after a pause."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as nothing can prevent."""
        self._process.kill()
        self._process.wait()


@contextmanager
def tracker(folder: Path, *arguments: str, **environment: str) -> Iterator[Tracker]:
    """Run a tracker, and end it in any case."""
    process = Tracker(folder, *arguments, **environment)
    try:
        yield process
    finally:
        process.kill()


def drained(client: Redis, keys: Keys, partitions: int = 4) -> bool:
    """Tell whether every partition's cursor stands at the end of its stream."""
    for number in range(partitions):
        own = keys.partition(number)
        if not client.exists(own.events):
            return False
        if (
            client.hget(own.partition, "cursor")
            != client.xinfo_stream(own.events)["last-generated-id"]
        ):
            return False
    return True


def model_of(
    client: Redis,
    keys: Keys,
    partitions: int = 4,
    *,
    kinds: Mapping[str, Document] = KINDS,
    later: Mapping[int, Mapping[str, Document]] = NEVER_REVISED,
) -> Model:
    """Feed the streams, as they are on the server, to the model.

    `later` are the kinds of each revision of the rules after the first one; where a partition took
    it up, its hash says.
    """
    model = Model(partitions, kinds=kinds)
    for number in range(partitions):
        begun = client.hgetall(keys.partition(number).partition)
        for entry_id, fields in client.xrange(keys.events(number)):
            taken_up = [each for each in later if _is_after(entry_id, begun[f"revision:{each}"])]
            model.kinds = later[max(taken_up)] if taken_up else kinds
            data = fields.get("data")
            raw = None if data is None else data.encode(errors="surrogateescape")
            if data is None and "remove" in fields:
                model.remove(number, entry_id, fields["remove"].encode(errors="surrogateescape"))
            else:
                model.apply(number, entry_id, raw, fields.get("from"))
    return model


def assert_as_modelled(
    client: Redis,
    keys: Keys,
    partitions: int = 4,
    *,
    kinds: Mapping[str, Document] = KINDS,
    later: Mapping[int, Mapping[str, Document]] = NEVER_REVISED,
    history: int = 0,
) -> Model:
    """Compare every status, set, count, change and rejection with the model, and the cursors.

    `kinds` and `later` are those of `model_of`; `history` is how many changes are kept of each
    entity.
    """
    model = model_of(client, keys, partitions, kinds=kinds, later=later)
    _assert_statuses(client, keys, model)
    _assert_index(client, keys, model)
    _assert_feeds(client, keys, model)
    _assert_histories(client, keys, model, history)
    for number in range(partitions):
        own = keys.partition(number)
        partition = {"cursor": model.cursors[number], "entries": "0"}
        partition |= {field: str(count) for field, count in model.totals[number].items()}
        if keys.layout == "cluster":
            partition |= _origins(model, number)
        found = client.hgetall(own.partition)
        revisions = {field: found.pop(field) for field in list(found) if "revision" in field}
        assert found == partition
        assert revisions.pop("revision") == str(max(later, default=1))
        assert revisions.keys() >= {f"revision:{each}" for each in later}
        [group] = client.xinfo_groups(own.events)
        assert (group["name"], group["lag"]) == ("tracker", 0)
    return model


def _is_after(entry_id: str, other: str) -> bool:
    """Compare the IDs of two entries."""
    first, second = (tuple(map(int, each.split("-"))) for each in (entry_id, other))
    return first > second


def _origins(model: Model, number: int) -> dict[str, str]:
    """Return which entry of each other partition was the last one that it forwarded here."""
    origins = [each.origin.split("/") for each in model.forwards if each.partition == number]
    return {f"from:{sender}": f"0/{entry_id}" for sender, entry_id in origins}


def _assert_statuses(client: Redis, keys: Keys, model: Model) -> None:
    """Every document is there, with its fields in order, and no other."""
    found = {}
    leases = {keys.lease(number) for number in range(model.partitions)}
    for key in set(client.scan_iter(count=1000, _type="string")) - leases:
        found[key] = json.dumps(json.loads(client.get(key)))
    wanted = {
        keys.partition(model.home(entity_id)).status(kind, entity_id): json.dumps(status)
        for kind in model.kinds
        for (of_kind, entity_id), status in model.statuses.items()
        if of_kind == kind
    }
    assert found == wanted


def _assert_index(client: Redis, keys: Keys, model: Model) -> None:
    """The sets of ids and the counts say what the statuses say, each in its own place."""
    sets: dict[str, dict[str, float]] = defaultdict(dict)
    counts: dict[str, Counter[str]] = {
        keys.partition(number).counts(kind): Counter()
        for number in range(model.partitions)
        for kind in model.kinds
    }
    for (kind, phase), ids in model.phases.items():
        for entity_id, score in ids.items():
            own = keys.partition(model.home(entity_id))
            sets[own.phase(kind, phase)][entity_id] = score
            counts[own.counts(kind)][phase] += 1
    there = set(client.scan_iter(count=1000, match=f"{keys.prefix}:phase:*"))
    assert {key: dict(client.zrange(key, 0, -1, withscores=True)) for key in there} == sets
    for key, wanted in counts.items():
        found = {phase: int(count) for phase, count in client.hgetall(key).items()}
        assert {phase: count for phase, count in found.items() if count} == wanted


def _assert_feeds(client: Redis, keys: Keys, model: Model) -> None:
    """Changes and rejections are each partition's, in its order, once."""
    all_own = [keys.partition(number) for number in range(model.partitions)]
    changes: dict[int, list[str]] = defaultdict(list)
    for key in {own.changes for own in all_own}:
        for _, fields in client.xrange(key):
            change = json.loads(fields.get("data", "{}"))
            if "removed" in fields:
                change = {"removed": json.loads(fields["removed"])}
            changes[_home(model, change)].append(canonical(change))
    wanted: dict[int, list[str]] = defaultdict(list)
    for change in model.changes:
        wanted[_home(model, change)].append(canonical(change))
    assert changes == wanted

    rejected: dict[int, list[Rejection]] = defaultdict(list)
    for key in {own.rejected for own in all_own}:
        for _, fields in client.xrange(key):
            number = next(n for n, own in enumerate(all_own) if own.events == fields["stream"])
            data = fields["data"].encode(errors="surrogateescape")
            rejected[number].append(Rejection(fields["reason"], number, fields["id"], data))
            assert fields["detail"]
    refused: dict[int, list[Rejection]] = defaultdict(list)
    for rejection in model.rejected:
        refused[rejection.partition].append(rejection)
    assert rejected == refused


def _home(model: Model, change: Document) -> int:
    """Return the partition of a change, or of a removal."""
    return model.home(change["removed"][0][1] if "removed" in change else change["id"])


def _assert_histories(client: Redis, keys: Keys, model: Model, most: int) -> None:
    """Each entity has its last changes, newest first, and nobody else has any."""
    lists = sorted(set(client.scan_iter(count=1000, _type="list")))
    pipeline = client.pipeline(transaction=False)
    for key in lists:
        pipeline.lrange(key, 0, -1)
    found = {
        key: [canonical(json.loads(change)) for change in changes]
        for key, changes in zip(lists, pipeline.execute(), strict=True)
    }
    assert found == {
        keys.partition(model.home(entity_id)).history(kind, entity_id): list(
            map(canonical, changes)
        )
        for (kind, entity_id), changes in model.histories(most).items()
    }
