"""What dashboards ask, on a real server, by both shells."""

import json
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from status_tracker import ConfigError, Rejected, UnavailableError
from status_tracker.client import reading, rejections
from status_tracker.client.reader import RETRY_FOR
from status_tracker.client.reading import Reading
from status_tracker.client.site import Site
from status_tracker.client.sync_shell import SyncShell
from status_tracker.keys import partition_of
from status_tracker.lifecycle import Edge
from status_tracker.settings import load_settings

from tests.events import NOW, id_in
from tests.line import RULES, deployed, meta_of
from tests.publishing import Publisher
from tests.servers import Redis, Server, free_port, replica_of
from tests.shells import Shell


@pytest.fixture
def reader(shell: Shell, server: Server) -> Any:
    """A reader of it."""
    return shell.reader(server.url)


def test_a_status_is_read(reader: Any, published: Publisher) -> None:
    """With its fields by their names; an id that was never seen has none."""
    published.change("a", "failed", progress=0.4, errorMessage="no disk", attempt=2)
    published.change("v", "processing", kind="asset")
    status = reader.task("a")
    assert (status.phase, status.progress, status.error_message) == ("failed", 0.4, "no disk")
    assert (status.retries, status.attempt, status.updated_at) == (0, 2, NOW + 1)
    assert reader.asset("v").phase == "processing"
    assert reader.get("task", "v") is None


def test_many_are_read_at_once(reader: Any, published: Publisher) -> None:
    """In the order in which they were asked for, each once; what is no status is none."""
    ids = [f"t-{number}" for number in range(50)]
    for each in ids:
        published.change(each, "pending")
    own = published.deployment.keys.partition(0)
    spoilt, other = id_in(0, prefix="spoilt"), id_in(0, prefix="other")
    published.client.set(own.status("task", spoilt), "?")
    published.client.lpush(own.status("task", other), "?")
    found = reader.get_many("task", iter([*ids, "never", spoilt, other, *ids]))
    assert list(found) == [*ids, "never", spoilt, other]
    assert [each for each, status in found.items() if status is None] == ["never", spoilt, other]
    assert reader.get("task", other) is None
    assert reader.get_many("task", []) == {}


def test_a_phase_is_listed_page_by_page(reader: Any, published: Publisher) -> None:
    """The newest first or last; whoever stays comes once, though others come and go."""
    for number in range(40):
        published.change(f"t-{number:02}", "running")
    seen: list[str] = []
    after: str | None = None
    while True:
        page = reader.list("task", "running", newest=False, limit=7, after=after)
        seen += page.statuses
        after = page.after
        if after is None:
            break
        published.change(seen[-7], "completed")
        published.change(f"new-{len(seen)}", "running")
    old = [each for each in seen if each.startswith("t-")]
    assert old == [f"t-{number:02}" for number in range(40)]
    page = reader.list("task", "running", limit=3)
    newest = list(page.statuses)
    assert page.since == {each: reader.task(each).updated_at for each in newest}
    assert newest == sorted(newest, key=lambda each: -reader.task(each).updated_at)
    assert newest[0].startswith("new-")
    assert list(reader.list("task", "cancelled").statuses) == []


def test_what_is_stalled_is_listed_page_by_page(reader: Any, published: Publisher) -> None:
    """By when the limit passed, with the status, over all partitions; what lives again is gone."""
    for number in range(20):
        published.change(f"t-{number:02}", "running")
        published.mark(f"t-{number:02}", NOW + 1_000 * number + 0.5)
    published.change("v", "processing", kind="asset")
    published.mark("v", NOW, kind="asset")
    seen: dict[str, int] = {}
    after: str | None = None
    while True:
        page = reader.stalled("task", newest=False, limit=7, after=after)
        seen |= {each: found.since for each, found in page.entities.items()}
        after = page.after
        if after is None:
            break
        if len(seen) == 7:
            published.change("t-19", "running", progress=0.5)
            published.remove("t-18")
    assert list(seen.items()) == [(f"t-{n:02}", NOW + 1_000 * n) for n in range(18)]
    [(last, stalled)] = reader.stalled("task", limit=1).entities.items()
    assert (last, stalled.since, stalled.status) == ("t-17", NOW + 17_000, reader.task("t-17"))
    published.client.delete(
        published.deployment.keys.partition(partition_of("v", 4)).status("asset", "v")
    )
    assert reader.stalled("asset").entities == {}


def test_marks_of_entities_are_read(reader: Any, published: Publisher) -> None:
    """Of those that have one, whatever their partitions, each asked for once or more often."""
    for number in range(8):
        published.mark(f"t-{number}", NOW + number + 0.5)
    wanted = ["t-3", "never", "t-0", "t-3"]
    assert reader.stalled_since("task", wanted) == {"t-3": NOW + 3, "t-0": NOW}
    assert reader.stalled_since("task", []) == {}
    with pytest.raises(ValueError, match="kind: "):
        reader.stalled_since("no", wanted)


def test_ids_of_a_phase_are_found(reader: Any, published: Publisher) -> None:
    """As many as are wanted; `complete` says whether these are all."""
    for number in range(12):
        published.change(f"t-{number}", "failed" if number % 2 else "running")
    found = reader.find("task", "t-*", phase="failed")
    assert (len(found.statuses), found.complete) == (6, True)
    assert {status.phase for status in found.statuses.values()} == {"failed"}
    some = reader.find("task", "t-*", phase="failed", limit=4)
    assert (len(some.statuses), some.complete) == (4, False)
    assert reader.find("task", "t-1*", phase="pending", limit=4).complete
    for wrong in ({"phase": "no"}, {"limit": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            reader.find("task", "*", **wrong)


def test_a_status_that_is_not_stalled_any_more_is_not_taken_for_one(
    server: Server, published: Publisher
) -> None:
    """Whenever its update comes, before, between and after the commands that look for it."""
    shell = SyncShell(server.url)
    site = Site("status", RETRY_FOR)
    shell.run(site.read())
    seen = []
    for number in range(10):
        published.change("a", "running")
        published.mark("a", NOW + 60_000)
        looking = Reading(site, RETRY_FOR).stalled("task", newest=True, limit=9, after=None)
        request = next(looking)
        try:
            for turn in count():
                if turn == number:
                    published.change("a", "waiting")
                request = looking.send(shell.ask(request))
        except StopIteration as done:
            seen.append([found.status.phase for found in done.value.entities.values()])
    shell.close()
    assert (seen[0], seen[-1]) == ([], ["running"])
    assert all(phases in ([], ["running"]) for phases in seen)


def test_entities_are_found_by_a_pattern(
    reader: Any, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among those of the kind, in every phase; and it says where it did not look at all."""
    for number in range(30):
        published.change(f"exp-{number}", "pending")
        published.change(f"imp-{number}", "running")
    published.change("exp-v", "ready", kind="asset")
    found = reader.find("task", "exp-*")
    assert (len(found.statuses), found.complete) == (30, True)
    assert reader.find("task", "*-7").statuses.keys() == {"exp-7", "imp-7"}
    monkeypatch.setattr(reading, "MOST_LOOKED_AT", 20)
    assert not reader.find("task", "exp-*").complete


def test_counts_are_of_all_phases_in_their_order(reader: Any, published: Publisher) -> None:
    """Also of those in which there is nobody, as a dashboard shows them."""
    for number in range(9):
        published.change(f"t-{number}", "pending")
    published.change("t-0", "waiting")
    counts = reader.counts("task")
    assert list(counts) == list(RULES.kinds["task"].phases)
    assert {phase: count for phase, count in counts.items() if count} == {
        "pending": 8,
        "waiting": 1,
    }


def test_a_history_is_read(reader: Any, published: Publisher) -> None:
    """The newest change first, with where it came from."""
    for phase in ("pending", "waiting", "running"):
        published.change("a", phase)
    found = [(each.phase, each.from_phase) for each in reader.history("task", "a")]
    assert found == [("running", "waiting"), ("waiting", "pending"), ("pending", None)]
    assert reader.history("task", "b") == []


def test_rejected_entries_are_read_page_by_page(
    reader: Any, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first, of all partitions, those of one reason if asked; later ones come later."""
    monkeypatch.setattr(rejections, "AT_ONCE", 3)
    for number in range(20):
        published.reject(f"t-{number}", "stale" if number % 2 else "future", b"\xff")
    seen: list[str] = []
    page = reader.rejected(limit=6)
    while page.entries:
        seen += [each.detail for each in page.entries]
        page = reader.rejected(limit=6, after=page.after)
    # Of the same millisecond, each partition has its own order.
    expected = [f"t-{number} is wrong" for number in range(20)]
    assert sorted(seen) == sorted(expected)
    assert seen == expected or published.deployment.keys.layout == "cluster"
    stale = reader.rejected(reason="stale").entries
    assert [each.detail for each in stale] == [each for each in seen if each in expected[1::2]]
    assert (stale[0].data, stale[0].id) == (b"\xff", "1-1")
    published.reject("late", "stale")
    [late] = reader.rejected(reason="stale", after=page.after).entries
    assert late.detail == "late is wrong"


def test_rejected_entries_are_read_from_the_newest_on(
    reader: Any, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all partitions, those of one reason if asked, to the end; newer ones change no page."""
    monkeypatch.setattr(rejections, "AT_ONCE", 3)
    for number in range(20):
        published.reject(f"t-{number}", "stale" if number % 2 else "future")
    oldest_first = [each.entry for each in reader.rejected().entries]
    seen: list[Rejected] = []
    after: str | None = None
    while True:
        page = reader.rejected(newest=True, limit=6, after=after)
        seen += page.entries
        published.reject("later", "stale")
        after = page.after
        if after is None:
            break
    assert sorted(each.entry for each in seen) == sorted(oldest_first)
    assert [each.at for each in seen] == sorted((each.at for each in seen), reverse=True)
    stale = reader.rejected(reason="stale", newest=True, limit=100).entries
    assert {each.detail for each in stale} == {
        "later is wrong",
        *(each.detail for each in seen if each.reason == "stale"),
    }
    for newest in (True, False):
        other = reader.rejected(newest=not newest, limit=1).after
        with pytest.raises(ValueError, match="after: "):
            reader.rejected(newest=newest, after=other)


def test_rejected_entries_are_found_by_what_they_are_called(
    reader: Any, published: Publisher
) -> None:
    """In the layout `cluster` by their partition, too; what is gone is none."""
    for number in range(8):
        published.reject(f"t-{number}", "stale")
    kept = reader.rejected().entries
    names = [each.entry for each in kept]
    assert len(set(names)) == 8
    first, *others = reader.rejected_entries([names[5], names[0]]).values()
    assert (first, others) == (kept[5], [kept[0]])
    assert first.at > NOW
    gone = names[0].replace(names[0].rpartition("/")[2], "1-1")
    assert reader.rejected_entries([gone]) == {gone: None}
    own = names[0].removesuffix(names[0].rpartition("/")[2])
    for wrong in ("", "x", "9/1-1", "1", f"{names[0]} ", f"{own}{2**64}-0", f"{own}\u0661-1"):
        with pytest.raises(ValueError, match="entry: "):
            reader.rejected_entries([wrong])


def test_the_end_of_the_feed(reader: Any, published: Publisher) -> None:
    """What follows on it is told, and nothing that was before."""
    published.change("a", "pending")
    token = reader.feed_end()
    published.change("a", "running")
    with closing(reader.changes(after=token)) as changes:
        assert next(changes).change.phase == "running"


def test_newer_rules_are_noticed(reader: Any, published: Publisher) -> None:
    """A phase that came with the last revision is known when it is asked for."""
    assert reader.rules() == RULES
    task = RULES.kinds["task"]
    newer = msgspec.structs.replace(task, phases=(*task.phases, "paused"))
    running = {**task.edges["running"], "paused": Edge.TRANSITION}
    edges = {**task.edges, "running": running, "paused": {}}
    newer = msgspec.structs.replace(newer, edges=edges)
    rules = msgspec.structs.replace(RULES, kinds={**RULES.kinds, "task": newer})
    later = msgspec.structs.replace(published.deployment, rules=rules, revision=2, texts={})
    fields = meta_of(later)
    published.client.hset("status:meta", mapping={**fields, "rules:2": fields["rules"]})
    assert reader.list("task", "paused").statuses == {}
    assert list(reader.counts("task"))[-1] == "paused"


@pytest.mark.usefixtures("published")
def test_what_there_is_not_is_named(reader: Any) -> None:
    """A kind, a phase, a page of another list: in one line, with what there is."""
    mistakes: list[tuple[Callable[[], Any], str]] = [
        (lambda: reader.get("tsk", "a"), "kind: tsk; must be task or asset"),
        (lambda: reader.counts("tsk"), "kind: tsk"),
        (lambda: reader.list("task", "rnning"), "phase: rnning; must be pending"),
        (lambda: reader.list("task", "running", after="x"), "after: it is no place"),
        (lambda: reader.list("task", "running", limit=0), "limit: 0"),
        (lambda: reader.stalled("tsk"), "kind: tsk; must be task or asset"),
        (lambda: reader.wait("task", "a", until="ready"), "phase: ready"),
        (lambda: reader.wait("task", "a", until=[]), "until: write"),
        (lambda: first(reader, "x"), "after: it is no token"),
    ]
    for asked, said in mistakes:
        with pytest.raises(ValueError, match=said):
            asked()


def test_no_deployment_is_told(shell: Shell, server: Server, redis_client: Redis) -> None:
    """Before the first worker, and for a key that is somebody else's."""
    with pytest.raises(ConfigError, match="no deployment with prefix jobs"):
        shell.reader(server.url, prefix="jobs").task("a")
    redis_client.set("mine:meta", "x")
    with pytest.raises(ConfigError, match="mine:meta is not the hash of a deployment"):
        shell.reader(server.url, prefix="mine").task("a")


def test_a_server_that_is_away_is_told(shell: Shell) -> None:
    """With its place, and without the password."""
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    with pytest.raises(UnavailableError, match=r"^redis://127.0.0.1:\d+/0: ") as caught:
        shell.reader(url, retry_for=0.1).task("a")
    assert "secret" not in str(caught.value)


def first(reader: Any, token: str) -> Any:
    """Return the first event after a token."""
    with closing(reader.changes(after=token)) as changes:
        return next(changes)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"decode_responses": True},
    {"protocol": 3},
    {"protocol": 3, "decode_responses": True, "socket_timeout": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_user_s_own_client_will_do(
    shell: Shell, server: Server, redis_client: Redis, options: dict[str, Any]
) -> None:
    """Whatever protocol it speaks, whatever it makes of replies, however short its timeout."""
    published = Publisher(redis_client)
    published.change("a", "pending")
    published.reject("a", "stale", b"\xff")
    client = shell.client(server.url, **options)
    reader, emitter = shell.reader(client), shell.emitter(client)
    assert reader.task("a").phase == "pending"
    assert list(reader.list("task", "pending").statuses) == ["a"]
    assert reader.find("task", "*").statuses.keys() == {"a"}
    assert reader.counts("task")["pending"] == 1
    assert reader.history("task", "a")[0].id == "a"
    assert reader.rejected().entries[0].data == b"\xff"
    snapshot = reader.snapshot("task")
    published.change("a", "waiting")
    event = first(reader, snapshot.token)
    assert (event.status.phase, event.change.from_phase) == ("waiting", "pending")
    with pytest.raises(TimeoutError, match=r"task a is waiting after 0\.6 s"):
        reader.wait("task", "a", timeout=0.6)
    entry = emitter.task("a", "running")
    key = published.deployment.keys
    streams = [key.events(number) for number in range(4)]
    added = [found for each in streams for found in redis_client.xrange(each)]
    assert [entry_id for entry_id, _ in added] == [entry]
    assert json.loads(added[0][1]["data"])["phase"] == "running"


def test_settings_will_do(shell: Shell, server: Server, redis_client: Redis) -> None:
    """They say where the server is, and what every key begins with."""
    meta = meta_of(deployed(partitions=4))
    redis_client.hset("jobs:meta", mapping=meta)
    redis_client.set("jobs:task:a", '{"phase":"pending","retries":0,"updatedAt":1700000000000}')
    options = {"redis_url": server.url, "prefix": "jobs"}
    settings = load_settings(environment={}, options=options)
    assert shell.reader(settings).task("a").phase == "pending"


READ_ONLY = "reader on >secret ~status:* resetchannels -@all +@read +@connection"


def asked_everything(reader: Any, published: Publisher) -> None:
    """Ask what can be asked of a deployment with one task, which is pending."""
    assert reader.task("a").phase == "pending"
    assert reader.get_many("task", ["a"])["a"].phase == "pending"
    assert list(reader.list("task", "pending").statuses) == ["a"]
    assert list(reader.find("task", "a*").statuses) == ["a"]
    assert reader.counts("task")["pending"] == 1
    assert len(reader.history("task", "a")) == 1
    assert reader.stalled("task").entities == {}
    assert reader.rejected().entries == []
    assert reader.rules() == RULES
    token = reader.snapshot("task").token
    published.change("a", "waiting")
    assert first(reader, token).status.phase == "waiting"
    assert reader.wait("task", "a", until="waiting", timeout=5).phase == "waiting"


def test_a_user_who_may_only_read_can_ask_everything(
    shell: Shell, server: Server, published: Publisher
) -> None:
    """The server would refuse any command that writes."""
    published.change("a", "pending")
    published.client.execute_command("ACL", "SETUSER", *READ_ONLY.split())
    try:
        url = server.url.replace("redis://", "redis://reader:secret@")
        asked_everything(shell.reader(url), published)
    finally:
        published.client.execute_command("ACL", "DELUSER", "reader")


def test_a_replica_can_be_asked_everything(
    shell: Shell, server: Server, redis_client: Redis, tmp_path: Path
) -> None:
    """It refuses to write, and has what the master had a moment ago."""
    published = Publisher(redis_client)
    published.change("a", "pending")
    with replica_of(server, tmp_path) as replica:
        asked_everything(shell.reader(replica.url), published)
