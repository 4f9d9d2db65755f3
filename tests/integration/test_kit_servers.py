"""In memory, on the embedded server and on one of the user's, the test kit has the same keys."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_tracker.errors import ConfigError
from status_tracker.keys import partition_of
from status_tracker.testing import Kit
from status_tracker.testing.places import DATABASES, EMBEDDED, MEMORY, Places, places

from tests.servers import Redis, Server, binaries
from tests.unit.deployments import SHIPPED
from tests.unit.streams import Event, Scene, scenes, trials
from tests.unit.test_vectors import OWN_KINDS, VECTORS, named

FIRST_CLOCK = 1_750_000_000_000
"""Of IDs that a server gives by its clock; streams of tests stand before it."""

_ids = re.compile(rb"\d{13}-\d+").sub


@contextmanager
def kit_on(made: Places) -> Iterator[Kit]:
    """Yield a kit with keys of its own."""
    with made() as place, Kit(place.url, place.prefix) as kit:
        yield kit


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Make places in memory."""
    with places(MEMORY, tmp_path_factory.mktemp("memory")) as made:
        yield made


@pytest.fixture(scope="module")
def everywhere(
    in_memory: Places, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Places]]:
    """Make places in memory, on the embedded server, and on one of the user's: another, if any."""
    *_, binary = binaries().values()
    with (
        places(EMBEDDED, tmp_path_factory.mktemp("embedded")) as embedded,
        Server(binary, tmp_path_factory.mktemp("own")) as server,
        places(server.url, Path()) as own,
    ):
        yield [in_memory, embedded, own]


def add(kit: Kit, number: int, event: Event) -> None:
    """Add an entry with an ID of its own to the stream of a partition."""
    fields: dict[Any, Any] = {"other": "field"} if event.data is None else {"data": event.data}
    kit.client.xadd(f"{kit.prefix}:events:{{{number}}}", fields, id=event.id)


def held(kit: Kit) -> dict[bytes, Any]:
    """Return what all keys hold, without the prefix, and without IDs of the server's clock."""
    client: Redis = kit.client
    prefix = kit.prefix.encode()

    def same(value: Any) -> Any:
        if isinstance(value, bytes):
            value = re.sub(rb"^" + re.escape(prefix) + rb":", b"", value)
            return _ids(lambda found: b"*" if int(found[0][:13]) > FIRST_CLOCK else found[0], value)
        if isinstance(value, dict):
            return {same(name): same(each) for name, each in value.items()}
        return [same(each) for each in value] if isinstance(value, list | tuple) else value

    read = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": lambda key: (client.xrange(key), groups(key)),
    }

    def groups(key: bytes) -> Any:
        # The lag is the server's own guess, where entries were added with IDs.
        return [
            {name: each[name] for name in ("name", "last-delivered-id", "entries-read")}
            for each in client.xinfo_groups(key)
        ]

    keys = client.scan_iter(match=prefix + b":*")
    return {same(key): same(read[client.type(key)](key)) for key in keys}


@trials(15)
@given(scene=scenes(st.just(SHIPPED), partitions=4), batches=st.integers(1, 3))
def test_all_have_the_same_keys(everywhere: list[Places], scene: Scene, batches: int) -> None:
    """Whatever producers say; byte for byte, but for IDs by a server's clock."""
    with ExitStack() as stack:
        kits = [stack.enter_context(kit_on(each)) for each in everywhere]
        size = max(1, len(scene.stream) // batches)
        for kit in kits:
            kit.rules(history=3)
            for first in range(0, len(scene.stream), size):
                for event in scene.stream[first : first + size]:
                    add(kit, 0, event)
                kit.settle()
        memory, *real = map(held, kits)
        for other in real:
            assert memory == other


@pytest.mark.parametrize("case", named(VECTORS["fold"]))
def test_the_contract_s_cases_of_the_fold(in_memory: Places, case: dict[str, Any]) -> None:
    """In memory, each step has the contract's outcome, and its document byte for byte."""
    with kit_on(in_memory) as kit:
        kit.rules(**OWN_KINDS)
        rejected = 0
        for number, step in enumerate(case["steps"]):
            entity_id, where = step["update"]["id"], f"step {number}"
            event = Event(f"{step['received']}-{number}", json.dumps(step["update"]).encode())
            add(kit, partition_of(entity_id, 4), event)
            kit.settle()
            client: Redis = kit.client
            document = client.get(f"status:{case['kind']}:{entity_id}") or b"null"
            wanted = json.dumps(step["status"], separators=(",", ":"), ensure_ascii=False)
            assert document.decode() == wanted, where
            reasons = [each.reason for each in kit.rejected[rejected:]]
            assert reasons == ([step["reason"]] if step["outcome"] == "rejected" else []), where
            rejected += len(reasons)


def test_the_contract_s_cases_of_decoding(in_memory: Places) -> None:
    """In memory, too, what is no update is rejected with the contract's reason."""
    wanted = {}
    with kit_on(in_memory) as kit:
        kit.rules(**OWN_KINDS)
        for number, case in enumerate(VECTORS["decode"]):
            event = Event(f"1700010000000-{number}", case["data"].encode())
            add(kit, 0, event)
            if not case.get("accepted"):
                wanted[event.id] = case["reason"]
        found = {each.id: each.reason for each in kit.rejected}
    assert wanted.items() <= found.items()
    others = {found[each] for each in found.keys() - wanted.keys()}
    assert others.isdisjoint({"malformed", "invalid", "oversized"})


def test_the_clock_of_a_real_server_is_its_own(everywhere: list[Places]) -> None:
    """Nobody can move it on: whoever asks for that is told what to do."""
    _, *real = everywhere
    for made in real:
        with kit_on(made) as kit, pytest.raises(ConfigError, match="run this test in memory"):
            kit.clock.advance("5m")


def test_what_was_there_stays(server: Server, redis_client: Redis) -> None:
    """On a server of the user's, each test has a prefix of its own, of which nothing is left."""
    redis_client.set("status:task:a", "the user's own")
    with places(server.url, Path()) as made, kit_on(made) as one, kit_on(made) as other:
        for kit in (one, other):
            kit.emitter.task("a", "pending")
            assert kit.phases("a") == ["pending"]
        assert one.prefix != other.prefix
        assert len(redis_client.keys(f"{one.prefix}:*")) > 5
    assert redis_client.keys("*") == ["status:task:a"]


def test_databases_of_the_embedded_server(tmp_path: Path) -> None:
    """Each test has one to itself, with the prefix that everybody has unless told otherwise."""
    with places(EMBEDDED, tmp_path) as made:
        with kit_on(made) as one, kit_on(made) as other:
            lead = [(one, "pending"), (other, "pending"), (other, "waiting")]
            for kit, phase in lead:
                kit.emitter.task("a", phase)
            assert (one.phases("a"), other.phases("a")) == (["pending"], ["pending", "waiting"])
            assert one.prefix == other.prefix == "status"
        for _ in range(DATABASES + 1):
            with kit_on(made) as kit:
                assert kit.task("a") is None
        with ExitStack() as stack:
            for _ in range(DATABASES):
                stack.enter_context(kit_on(made))
            with pytest.raises(ConfigError, match="16 tests at once"):
                stack.enter_context(kit_on(made))
