"""What the library costs: `emit_many` and `get_many` beside the same commands of bare redis-py."""

import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import redis
from status_tracker import Emitter, StatusReader
from status_tracker.keys import Keys, partition_of
from status_tracker.models import Status

from tests.bench.processes import Plan, connect, interleaved, serve, version
from tests.bench.report import Figure, Report, compared
from tests.bench.workload import STEPS, Task, Workload, pieces
from tests.line import deployed, meta_of

PREFIX = "status"
KEYS = Keys(PREFIX, "single")
PARTITIONS = 4

AT_ONCE = 2_000
"""Commands in each pipeline, of either."""

READ_AT_ONCE = 1_000
"""Ids that are asked for at once."""

OURS, THEIRS = "the library", "redis-py"

_decode = msgspec.json.Decoder(Status).decode


def updates(count: int) -> Iterator[dict[str, object]]:
    """Yield updates as a producer has them."""
    for task, step in Workload(count).moves():
        progress = {"progress": (step - 2) / 5} if STEPS[step] == "running" else {}
        yield {"kind": "task", "id": task, "phase": STEPS[step], **progress}


def entries(count: int) -> list[tuple[str, bytes]]:
    """Return the same as entries: the key of the stream, and the update's bytes."""
    now = time.time() * 1000
    return [
        (
            KEYS.events(partition_of(str(update["id"]), PARTITIONS)),
            msgspec.json.encode({**update, "updatedAt": now + number / 1000}),
        )
        for number, update in enumerate(updates(count))
    ]


def rate(client: redis.Redis, count: int, send: Callable[[], object]) -> float:
    """Return how many updates are sent in a second."""
    client.flushdb()
    client.hset(KEYS.meta, mapping=meta_of(deployed(partitions=PARTITIONS)))  # type: ignore[arg-type]
    began = time.perf_counter()
    send()
    seconds = time.perf_counter() - began
    added = sum(client.xlen(KEYS.events(number)) for number in range(PARTITIONS))
    if added != count:
        raise SystemExit(f"wrong work: {added} of {count} updates were added")
    return count / seconds


def emitting(url: str, plan: Plan) -> Figure:
    """Send updates by the library, and the same bytes by a pipeline."""
    count = plan.sized(200_000)
    said, prepared = list(updates(count)), entries(count)
    with connect(url) as client, Emitter(url) as emitter:

        def by_hand() -> None:
            for some in pieces(prepared, AT_ONCE):
                pipeline = client.pipeline(transaction=False)
                for stream, data in some:
                    pipeline.xadd(stream, {"data": data})
                pipeline.execute()

        rates = interleaved(
            plan,
            {
                OURS: lambda: rate(client, count, lambda: emitter.emit_many(said)),
                THEIRS: lambda: rate(client, count, by_hand),
            },
            lambda found: f"{found:,.0f}/s",
        )
    return compared("emit_many: updates/s", "", rates[OURS], "a pipeline", rates[THEIRS])


def reading(url: str, plan: Plan) -> Figure:
    """Read statuses by the library, and by one MGET whose documents are decoded."""
    times = plan.sized(300)
    with connect(url) as client, StatusReader(url) as reader:
        client.flushdb()
        client.hset(KEYS.meta, mapping=meta_of(deployed(partitions=PARTITIONS)))
        ids = [task for task, _ in Workload(READ_AT_ONCE, READ_AT_ONCE).moves()]
        ids = list(dict.fromkeys([*ids, *map(str, range(READ_AT_ONCE))]))[:READ_AT_ONCE]
        document = b'{"phase":"running","progress":0.4,"retries":0,"updatedAt":1700000000000}'
        store(client, [Task(each, "running", document) for each in ids])
        own = KEYS.partition(0)

        def by_hand() -> int:
            found = client.mget([own.status("task", each) for each in ids])
            statuses = {
                each: None if text is None else _decode(text)
                for each, text in zip(ids, found, strict=True)
            }
            return sum(status is not None for status in statuses.values())

        def by_library() -> int:
            statuses = reader.get_many("task", ids)
            return sum(status is not None for status in statuses.values())

        took = interleaved(
            plan,
            {
                OURS: lambda: each_takes(by_library, times),
                THEIRS: lambda: each_takes(by_hand, times),
            },
            lambda found: f"{found:.2f} ms",
        )
    return compared("get_many of 1,000: time", "ms", took[OURS], "MGET", took[THEIRS])


def store(client: redis.Redis, tasks: Sequence[Task]) -> None:
    """Write statuses under the prefix that is read."""
    client.mset({KEYS.partition(0).status("task", task.id): task.document for task in tasks})


def each_takes(read: Callable[[], int], times: int) -> float:
    """Return the milliseconds that a reading takes, of many."""
    began = time.perf_counter()
    for _ in range(times):
        if read() != READ_AT_ONCE:
            raise SystemExit("wrong work: statuses are missing")
    return 1000 * (time.perf_counter() - began) / times


def measure(kind: str, plan: Plan) -> Report:
    """Measure both on a server of their own."""
    with serve(kind) as url:
        return Report(version(url), [emitting(url, plan), reading(url, plan)])
