"""What doctor makes of what it sees, where no server can be had that shows it."""

import asyncio
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from status_tracker.keys import Keys, Layout
from status_tracker.monitoring.doctor import finding
from status_tracker.monitoring.doctor.finding import UnseenError, attempt, judged
from status_tracker.monitoring.doctor.server import CHECKS, Clock, ServerSeen

from tests.line import RULES

INFO = {
    "redis_version": "7.0.15",
    "role": "master",
    "connected_slaves": "1",
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "rdb_changes_since_last_save": "5",
    "maxmemory_policy": "noeviction",
    "evicted_keys": "0",
    "used_memory": "500",
    "maxmemory": "0",
    "mem_not_counted_for_evict": "0",
    "total_system_memory": "1000",
}
CONFIG = {
    "appendfsync": "everysec",
    "save": "3600 1",
    "stop-writes-on-bgsave-error": "yes",
    "client-output-buffer-limit": "normal 0 0 0 slave 1 1 60 pubsub 1 1 60",
    "stream-node-max-bytes": "4096",
    "stream-node-max-entries": "100",
}


def ill(
    info: dict[str, str] | None = None, config: dict[str, str] | None = None, ahead: float = 0
) -> dict[str, tuple[str, str]]:
    """Return what is not ok of a server that is well but for what is given: check → what."""
    seen = ServerSeen(INFO | (info or {}), CONFIG | (config or {}), Clock(ahead, 0.001))
    found = judged("server", CHECKS, seen)
    return {each.check: (each.level, each.found) for each in found if each.level != "ok"}


def test_a_server_that_is_well() -> None:
    """Nothing is said where there is nothing to say."""
    assert ill() == {}


@pytest.mark.parametrize(
    ("check", "level", "says", "info"),
    [
        ("version", "fail", "Redis 6.2.14: it cannot", {"redis_version": "6.2.14"}),
        ("memory", "warn", "80% of the machine's memory", {"used_memory": "800"}),
        ("memory", "fail", "soon nothing can be written", {"used_memory": "990"}),
        ("memory", "warn", "90% of maxmemory", {"used_memory": "450", "maxmemory": "500"}),
        ("persistence", "fail", "file cannot be written", {"aof_last_write_status": "err"}),
        ("persistence", "fail", "the last snapshot failed", {"rdb_last_bgsave_status": "err"}),
        ("eviction", "fail", "statuses vanish", {"maxmemory_policy": "allkeys-lfu"}),
        ("role", "warn", "INFO says that connected_slaves is ?", {"connected_slaves": "?"}),
    ],
)
def test_what_info_tells(check: str, level: str, says: str, info: dict[str, str]) -> None:
    """Each is judged alone, and what cannot be read is said."""
    found = ill(info)
    assert list(found) == [check]
    assert found[check][0] == level
    assert says in found[check][1]


def test_snapshots_that_fail_where_nobody_wants_them() -> None:
    """Without save points the server takes writes all the same."""
    assert ill({"rdb_last_bgsave_status": "err"}, {"save": ""}) == {}


@pytest.mark.parametrize(
    ("ahead", "level"),
    [(0.9, None), (-0.9, None), (1.1, "warn"), (-1.1, "warn"), (90, "warn"), (-90, "fail")],
)
def test_clocks(ahead: float, level: str | None) -> None:
    """Where this host is ahead by more than the rules forgive, its updates are rejected."""
    assert ill(ahead=ahead).get("clock", (None, ""))[0] == level


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(INFO)), st.text(max_size=5)),
    st.sets(st.sampled_from(sorted(INFO))),
    st.dictionaries(st.sampled_from(sorted(CONFIG)), st.text(max_size=5)),
    st.sets(st.sampled_from(sorted(CONFIG))),
)
def test_whatever_a_server_says(
    info: dict[str, str], no_info: set[str], config: dict[str, str], no_config: set[str]
) -> None:
    """Somebody's own server may say something else, or nothing: each check has an answer."""
    seen = ServerSeen(
        {name: text for name, text in (INFO | info).items() if name not in no_info},
        {name: text for name, text in (CONFIG | config).items() if name not in no_config},
        UnseenError("no clock"),
    )
    assert {each.check for each in judged("server", CHECKS, seen)} == set(CHECKS)


async def test_a_look_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person waits."""
    monkeypatch.setattr(finding, "LOOKS_FOR", 0.01)
    seen = await attempt(asyncio.Event().wait())
    assert isinstance(seen, UnseenError)
    assert str(seen) == "no answer within 0.01 s"


KINDS = list(RULES.kinds)


@pytest.mark.parametrize("layout", get_args(Layout))
@settings(max_examples=50)
@given(
    st.integers(0, 3),
    st.sampled_from(KINDS),
    st.from_regex(r"[^\s{}\x00-\x1f\x7f-\x9f]{1,9}", fullmatch=True),
)
def test_our_own_keys_are_known(layout: Layout, number: int, kind: str, entity_id: str) -> None:
    """None of them is ever called somebody else's, whatever the ids are."""
    keys = Keys("a:b", layout)
    own = keys.partition(number)
    names = [
        *(keys.meta, keys.workers, keys.lease(number), own.events, own.partition),
        *(own.changes, own.rejected, own.counts(kind), own.stalled(kind), own.phase(kind, "ready")),
        *(own.status(kind, entity_id), own.history(kind, entity_id), "a:b:later-one:x"),
    ]
    assert [name for name in names if not keys.has(name, partitions=4, kinds=KINDS)] == []


@pytest.mark.parametrize(
    ("layout", "key"),
    [
        *(("single", f"s:{rest}") for rest in ("events:0", "events:{4}", "events:{0}:x", "events")),
        *(("single", f"s:{rest}") for rest in ("meta:x", "counts:film", "phase:task", "film:1")),
        *(("single", f"s:{rest}") for rest in ("changes:{0}", "task:{0}:x", "task:", "cache")),
        *(("cluster", f"s:{rest}") for rest in ("changes", "task:x", "task:{4}:x", "counts:task")),
    ],
)
def test_keys_of_somebody_else(layout: Layout, key: str) -> None:
    """What no worker would write or read is told from what one would."""
    assert not Keys("s", layout).has(key, partitions=4, kinds=KINDS)
