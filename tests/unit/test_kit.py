"""The test kit as its users' tests see it, in memory."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from click.testing import CliRunner
from status_tracker import (
    AsyncEmitter,
    AsyncStatusReader,
    ConfigError,
    Emitter,
    StatusReader,
    UpdateError,
)
from status_tracker.cli import cli
from status_tracker.client.feed import Removal
from status_tracker.keys import partition_of
from status_tracker.models import Change
from status_tracker.settings import default_file
from status_tracker.testing import Kit
from status_tracker.testing.immediate import driven
from status_tracker.testing.places import MEMORY, Place, Places, places

from tests.events import NOW, update

HOUR = 3_600

LIFE = ["pending", "waiting", "running", "completed"]

EXPORT = {
    "phases": ["queued", "done"],
    "initial": ["queued"],
    "success": ["done"],
    "terminal": ["done"],
    "transitions": {"queued": ["done"]},
}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Places]:
    """Make places in memory."""
    with places(MEMORY, tmp_path) as made:
        yield made


def lead(kit: Kit, entity_id: str, *phases: str) -> None:
    """Say that a task is in one phase after the other."""
    for phase in phases:
        kit.emitter.task(entity_id, phase)


@pytest.mark.parametrize("source", ["url", "client"])
def test_users_own_emitters_and_readers(status_tracker: Kit, source: str) -> None:
    """What users test makes its own: it is given the kit's URL or its client, as in production."""
    given = getattr(status_tracker, source)
    with Emitter(given) as emitter, StatusReader(given) as reader:
        for phase in LIFE:
            emitter.task("export-17", phase)
        assert reader.task("export-17") is None  # nothing is folded behind the test's back
        status_tracker.settle()
        status = reader.task("export-17")
        assert status is not None
        assert (status.phase, status.progress, status.retries) == ("completed", 1, 0)
        assert reader.counts("task")["completed"] == 1


@pytest.mark.parametrize("source", ["url", "async_client"])
async def test_users_own_emitters_and_readers_with_asyncio(
    status_tracker: Kit, source: str
) -> None:
    """The same in an event loop, where the kit folds at once, without waiting for anything."""
    given = getattr(status_tracker, source)
    async with AsyncEmitter(given) as emitter, AsyncStatusReader(given) as reader:
        for phase in LIFE:
            await emitter.task("export-17", phase)
        assert await reader.task("export-17") is None
        status_tracker.settle()
        status = await reader.task("export-17")
        assert status is not None
        assert status.phase == "completed"


async def test_the_kit_has_them_ready(status_tracker: Kit) -> None:
    """Who needs no options makes nothing."""
    status_tracker.emitter.task("a", "pending")
    await status_tracker.async_emitter.task("a", "waiting")
    status_tracker.settle()
    status = status_tracker.reader.task("a")
    assert status is not None
    assert status == await status_tracker.async_reader.task("a") == status_tracker.task("a")
    document = json.dumps(
        {"phase": "waiting", "retries": 0, "updatedAt": status.updated_at}, separators=(",", ":")
    ).encode()
    client: redis.Redis = status_tracker.client
    async_client: redis.asyncio.Redis = status_tracker.async_client
    assert client.get("status:task:a") == await async_client.get("status:task:a") == document


def test_who_waits_is_told(status_tracker: Kit) -> None:
    """Views that wait or follow the feed can be tested: what blocks is told when the kit folds."""
    lead(status_tracker, "a", "pending")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(
            status_tracker.reader.wait, "task", "a", until="waiting", timeout=9
        )
        lead(status_tracker, "a", "waiting")
        status_tracker.settle()
        assert waiting.result(9).phase == "waiting"


async def test_who_awaits_is_told(status_tracker: Kit) -> None:
    """The same with asyncio."""
    lead(status_tracker, "a", "pending")
    reader = status_tracker.async_reader
    waiting = asyncio.create_task(reader.wait("task", "a", until="waiting", timeout=9))
    with pytest.raises(TimeoutError):
        await reader.wait("task", "a", until="waiting", timeout=0.05)
    lead(status_tracker, "a", "waiting")
    status_tracker.settle()
    assert (await waiting).phase == "waiting"


def test_an_illegal_transition_is_rejected_with_its_reason(status_tracker: Kit) -> None:
    """A producer's mistake is in its test's report as an operator would find it."""
    lead(status_tracker, "a", *LIFE, "running")
    assert status_tracker.phases("a") == LIFE
    [rejected] = status_tracker.rejected
    assert rejected.reason == "illegal_transition"
    assert rejected.detail.startswith("completed -> running; nothing may follow completed")
    assert list(status_tracker.report()) == [
        "task a: pending -> waiting -> running -> completed",
        f"rejected: illegal_transition: {rejected.detail}: {rejected.data.decode()}",
    ]


def test_what_a_failing_test_has_forgotten_is_said(status_tracker: Kit) -> None:
    """A status that is not there is mostly one that was not folded."""
    lead(status_tracker, "a", "pending", "waiting")
    assert list(status_tracker.report()) == [
        "updates that are not folded yet: 2; status_tracker.settle() folds them"
    ]


def test_all_that_happened_is_told(status_tracker: Kit) -> None:
    """Tests of what listens to the feed compare with it."""
    lead(status_tracker, "a", "pending", "waiting")
    status_tracker.emitter.asset("a", "uploading")
    first, second, third = status_tracker.changes
    assert isinstance(first, Change)
    assert isinstance(third, Change)
    told = [(each.kind, each.id) for each in (first, second, third)]
    assert sorted(told) == [("asset", "a"), ("task", "a"), ("task", "a")]
    assert status_tracker.phases("a", "asset") == ["uploading"]
    assert status_tracker.phases("a", "task") == ["pending", "waiting"]
    assert status_tracker.phases("b") == []
    with pytest.raises(ValueError, match="kind: give one of asset, task: each has a a"):
        status_tracker.phases("a")


def test_a_removal_is_told(status_tracker: Kit) -> None:
    """Whoever follows the feed has to let go of what was removed."""
    lead(status_tracker, "a", "pending")
    status_tracker.settle()
    status_tracker.client.xadd("status:changes", {"removed": '[["task","a"]]'})
    assert status_tracker.changes[1:] == [Removal("task", "a")]
    assert list(status_tracker.report()) == ["task a: pending -> (removed)"]


def test_updates_in_any_stream_are_folded(status_tracker: Kit) -> None:
    """Producers without a client add to whichever stream: `settle` folds what is forwarded, too."""
    for number in range(4):
        at = NOW + number
        data = update("a", LIFE[number], at=at)
        status_tracker.client.xadd(f"status:events:{{{number}}}", {"data": data})
        status_tracker.settle()
    assert status_tracker.phases("a") == LIFE


def test_a_repeat_changes_nothing(status_tracker: Kit) -> None:
    """A producer that lost a reply says it again: its test proves that this is harmless."""
    lead(status_tracker, "a", *LIFE, "running")
    wrong = (partition_of("b", 4) + 1) % 4
    status_tracker.client.xadd(f"status:events:{{{wrong}}}", {"data": update("b", "pending")})
    before = status_tracker.task("a"), status_tracker.task("b"), status_tracker.rejected
    status_tracker.redeliver()
    status_tracker.redeliver()
    assert before == (status_tracker.task("a"), status_tracker.task("b"), status_tracker.rejected)
    assert status_tracker.phases("a") == LIFE
    lengths = [status_tracker.client.xlen(f"status:events:{{{n}}}") for n in range(4)]
    assert sum(lengths) == 3 * (5 + 2)  # each time each once, and the forward of one


def test_a_repeat_that_changes_something_is_said(status_tracker: Kit) -> None:
    """Updates with one and the same time cannot be told from new ones when they come again."""
    for phase in LIFE[:3]:
        status_tracker.emitter.task("a", phase, updated_at=NOW)
    with pytest.raises(AssertionError, match="a repeat changed statuses:\ntask a: retries: 0 -> 1"):
        status_tracker.redeliver()


def test_kinds_of_ones_own(status_tracker: Kit, tmp_path: Path) -> None:
    """Rules come as they stand in the file, or from it; emitters that are there go by them."""
    with pytest.raises(UpdateError):
        status_tracker.emitter.emit("export", "e", "queued")
    assert [*status_tracker.rules(export=EXPORT).kinds] == ["task", "asset", "export"]
    status_tracker.emitter.emit("export", "e", "queued")
    status = status_tracker.get("export", "e")
    assert status is not None
    assert (status.phase, status.retries) == ("queued", None)

    file = tmp_path / "rules.toml"
    limits = 'max_clock_skew = "60s"\nclock_skew = "1s"\nmax_event_bytes = "64KiB"\nhistory = 2\n'
    table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in list(EXPORT.items())[:-1])
    file.write_text(f'{limits}[export]\n{table}\n[export.transitions]\nqueued = ["done"]\n')
    assert [*status_tracker.rules(file).kinds] == ["export"]
    status_tracker.emitter.emit("export", "e", "done")
    status_tracker.settle()
    assert [change.phase for change in status_tracker.reader.history("export", "e")] == ["done"]


def test_rules_that_cannot_work_are_refused(status_tracker: Kit, tmp_path: Path) -> None:
    """In one line, which begins with the key to change."""
    with pytest.raises(ConfigError, match=r"^rules: export\.success: 'gone' is no export phase"):
        status_tracker.rules(export={**EXPORT, "success": ["gone"]})
    with pytest.raises(ConfigError, match=r"no-such\.toml"):
        status_tracker.rules(tmp_path / "no-such.toml")


def test_kits_do_not_see_each_other(make: Places) -> None:
    """Whatever runs at the same time in one process has keys of its own, and its own time."""
    began = time.time()

    def one(name: str) -> tuple[Place, list[str], list[bytes]]:
        with make() as place, Kit(place.url, place.prefix) as kit:
            assert kit.clock.now() < (began + HOUR) * 1000
            kit.clock.advance("1h")
            lead(kit, name, *LIFE)
            kit.settle()
            keys: Any = kit.client.keys("status:task:*")
            return place, kit.phases(name), keys

    names = [f"task-{number}" for number in range(8)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(one, names))
    assert [phases for _, phases, _ in found] == [LIFE] * 8
    assert [keys for *_, keys in found] == [[f"status:task:{name}".encode()] for name in names]
    assert len({place.url for place, *_ in found}) == 8


def test_the_server_of_a_test_that_ended_is_gone(make: Places) -> None:
    """Who keeps a URL for too long is told so, instead of finding nothing there."""
    with make() as place:
        pass
    with pytest.raises(ConfigError, match="is not there: it was the server of a test that ended"):
        StatusReader(place.url)


def test_without_what_the_extra_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts need Lua, which fakeredis has only by an extra of its own."""
    monkeypatch.setitem(sys.modules, "lupa", None)
    wanted = r"lupa is not installed: pip install 'status-tracker\[testing\]'"
    with pytest.raises(ConfigError, match=wanted), places(MEMORY, tmp_path):
        pass


def test_the_command_works_on_it(status_tracker: Kit, tmp_path: Path) -> None:
    """What else takes a URL takes the kit's; and the kit goes by new rules at once."""
    lead(status_tracker, "a", "pending", "waiting")
    status_tracker.settle()
    file = tmp_path / "rules.toml"
    file.write_text(default_file("rules.toml").read_text().replace("history = 0", "history = 1"))
    apply = ["rules", "apply", str(file), "--yes", "--redis-url", status_tracker.url]
    ran = CliRunner().invoke(cli, apply)
    assert (ran.exit_code, ran.stderr) == (0, "")
    lead(status_tracker, "a", "running")
    status_tracker.settle()
    assert [each.phase for each in status_tracker.reader.history("task", "a")] == ["running"]


def test_what_runs_at_once_waits_for_nothing() -> None:
    """The kit blocks the thread of a test: to wait in it would be for ever."""
    with pytest.raises(AssertionError, match="waits for something"):
        driven(asyncio.sleep(0))
