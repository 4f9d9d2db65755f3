"""What open pages are told, over sockets and on a real server."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from status_tracker.dashboard import deployment
from status_tracker.dashboard.live import rows
from status_tracker.dashboard.pages.rendering import element

from tests.events import id_in
from tests.integration.dashboard.asking import HOSTILE, Listener, Screen, listening, showing, site
from tests.line import RULES, deployed, meta_of
from tests.publishing import Publisher
from tests.servers import Redis, Server, free_port, wait_until

IDS = [id_in(number % 4, prefix=f"t{number}") for number in range(8)]
ROWS = [{"kind": "task", "id": each} for each in IDS]
HOSTILE_ROW = {"kind": "task", "id": HOSTILE}


def shows(entity_id: str, text: str) -> Any:
    """Return the condition that an entity's row has a text."""
    name = element("task", entity_id)
    return lambda screen: text in screen.html.get(name, "")


def is_looking(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether anybody reads for open pages."""
    tasks = asyncio.all_tasks(loop)
    return any(each.get_name() == "status-tracker dashboard live" for each in tasks)


async def test_rows_are_told_as_they_change(server: Server, published: Publisher) -> None:
    """By the feed where the phase changed, by a look where it gained progress; and no others."""
    for each in [*IDS, HOSTILE]:
        published.change(each, "running", progress=0.1)
    async with site(server.url) as own, showing(own.port, rows=[*ROWS, HOSTILE_ROW]) as screen:
        await screen.until(lambda screen: len(screen.html) == len(IDS) + 1)
        published.change(HOSTILE, "failed", errorMessage="<b>no</b>")
        changed = set()
        while not shows(HOSTILE, "failed")(screen):
            changed |= screen.take(await screen.event())
        assert changed == {element("task", HOSTILE)}
        assert shows(HOSTILE, "&lt;b&gt;no")(screen)
        own_keys = published.deployment.keys.partition(0)
        key = own_keys.status("task", IDS[0])
        published.client.set(key, '{"phase":"running","progress":0.7,"updatedAt":1700000000999}')
        await screen.until(shows(IDS[0], "70 %"))
        published.mark(IDS[0], 1_700_000_001_000)
        await screen.until(shows(IDS[0], "stalled"))
        published.remove(IDS[1])
        await screen.until(shows(IDS[1], "taken away"))


async def test_newcomers_are_counted(server: Server, published: Publisher) -> None:
    """Those that a list does not show yet; also those who came while the page was hidden."""
    published.change(IDS[0], "running")
    view = {"rows": ROWS[:1], "lists": [["task", "running"]]}
    async with site(server.url) as own:
        async with showing(own.port, **view) as screen:
            await screen.until(shows(IDS[0], "running"))
            published.change(IDS[0], "waiting")
            published.change(IDS[0], "running")
            published.change(IDS[1], "waiting")
            published.change(IDS[2], "running")
            await screen.until(lambda screen: screen.news == 1)
            token = screen.token
        published.change(IDS[1], "running")
        published.change(IDS[3], "running")
        async with showing(own.port, **view, after=token) as screen:
            await screen.until(lambda screen: screen.news == 2)
            assert not screen.has_gap


async def test_a_place_that_is_gone(server: Server, published: Publisher) -> None:
    """Nobody knows who came meanwhile, and the page says so; its rows are as they are now."""
    published.change(IDS[0], "running")
    view = {"rows": ROWS[:1], "lists": [["task", "running"]]}
    async with site(server.url) as own, showing(own.port, **view) as screen:
        await screen.until(shows(IDS[0], "running"))
        token = screen.token
    published.change(IDS[0], "failed")
    async with site(server.url) as other, showing(other.port, **view, after=token) as screen:
        await screen.until(lambda screen: screen.has_gap and shows(IDS[0], "failed")(screen))


async def test_a_feed_with_a_gap(server: Server, published: Publisher) -> None:
    """Nobody knows who came: pages that are open say so, and show each history as it is."""
    published.change(IDS[0], "running")
    lists = {"lists": [["task", "running"]]}
    async with (
        site(server.url) as own,
        showing(own.port, rows=ROWS[:1], **lists) as screen,
        showing(own.port, rows=ROWS[:1], detail=True) as detail,
    ):
        await screen.until(shows(IDS[0], "running"))
        await detail.until(lambda screen: screen.html.get("entity", "").count("<li") == 1)
        own_keys = published.deployment.keys.partition(0)
        published.client.lpush(
            own_keys.history("task", IDS[0]),
            published.client.lindex(own_keys.history("task", IDS[0]), 0),
        )
        published.client.delete(own_keys.changes)
        published.change(IDS[4], "running")
        await screen.until(lambda screen: screen.has_gap)
        await detail.until(lambda screen: screen.html["entity"].count("<li") == 2)


async def test_regions_move(server: Server, published: Publisher) -> None:
    """Counts, and what needs a person."""
    regions = [{"name": "kinds"}, {"name": "health"}, {"name": "phases", "kind": "task"}]
    async with site(server.url) as own, showing(own.port, regions=regions) as screen:
        await screen.until(lambda screen: set(screen.html) == {"kinds", "health", "phases"})
        assert "to look at" in screen.html["health"]  # there is no worker
        for each in IDS:
            published.change(each, "running")
        await screen.until(lambda screen: f">{len(IDS)}</span>" in screen.html["kinds"])
        await screen.until(lambda screen: f">{len(IDS)}</span>" in screen.html["phases"])


async def test_the_page_of_an_entity(server: Server, published: Publisher) -> None:
    """Its history grows with each change of phase, and other steps can be taken by hand."""
    published.change(HOSTILE, "pending")
    async with (
        site(server.url) as own,
        showing(own.port, rows=[HOSTILE_ROW], detail=True) as screen,
    ):
        await screen.until(lambda screen: screen.html.get("entity", "").count("<li") == 1)
        published.change(HOSTILE, "waiting")
        published.change(HOSTILE, "running", progress=0.3)
        await screen.until(
            lambda screen: (
                screen.html["entity"].count("<li") == 3 and "30 %" in screen.html["entity"]
            )
        )
        await screen.until(lambda screen: " completed</bdi>" in screen.html["commands"])


async def test_however_many_pages_are_open(server: Server, published: Publisher) -> None:
    """Redis is asked once a second for all of them, and not at all when the last one is closed."""
    for each in IDS:
        published.change(each, "running")
    async with site(server.url) as own, AsyncExitStack() as pages:
        screens: list[Screen] = []
        for number in range(24):
            row = ROWS[number % len(ROWS)]
            screens.append(await pages.enter_async_context(showing(own.port, rows=[row])))
        for number, screen in enumerate(screens):
            await screen.until(shows(IDS[number % len(IDS)], "running"))
        published.client.config_resetstat()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for step in range(3):
            for each in IDS:
                published.change(each, "running" if step % 2 else "waiting")
            for number, screen in enumerate(screens):
                phase = "running" if step % 2 else "waiting"
                await screen.until(shows(IDS[number % len(IDS)], phase))
        took = loop.time() - began
        asked: Any = published.client.info("commandstats")
        # One in the layout single, one for each partition in a cluster.
        slots = 1 if published.deployment.keys.layout == "single" else 4
        assert asked.get("cmdstat_mget", {"calls": 0})["calls"] <= (took + 2) * slots
        await pages.aclose()
        await asyncio.to_thread(wait_until, lambda: not is_looking(loop))


async def test_a_server_that_goes_and_comes_back(own_server: Server) -> None:
    """The page is told that it is old, and then how everything is now."""
    with own_server.client() as client:
        published = Publisher(client)
        published.change(IDS[0], "running")
        async with site(own_server.url) as own, showing(own.port, rows=ROWS[:1]) as screen:
            await screen.until(shows(IDS[0], "running"))
            own_server.stop()
            await screen.until(lambda screen: screen.problem is not None)
            # Where the server is, the log says, and no page.
            assert screen.problem == "the Redis server cannot be used now"
            own_server.start()
            await asyncio.to_thread(wait_until, client.ping)
            published.change(IDS[0], "failed")
            await screen.until(lambda s: s.problem is None and shows(IDS[0], "failed")(s))


async def test_a_look_that_fails(server: Server, redis_client: Redis) -> None:
    """What is shown is old until all of it was read again, whatever the feed tells meanwhile."""
    published = Publisher(redis_client)
    published.change(IDS[0], "running")
    redis_client.execute_command(
        "ACL", "SETUSER", "viewer", "reset", "on", ">secret", "~*", "+@all"
    )
    url = server.url.replace("redis://", "redis://viewer:secret@")

    def refused() -> int:
        return sum(
            int(each["count"]) for each in redis_client.acl_log() if each["object"] == "xlen"
        )

    regions = [{"name": "kinds"}]
    async with site(url) as own, showing(own.port, rows=ROWS[:1], regions=regions) as screen:
        await screen.until(shows(IDS[0], "running"))
        redis_client.acl_log_reset()
        redis_client.execute_command("ACL", "SETUSER", "viewer", "-xlen")
        await screen.until(lambda screen: screen.problem is not None)
        published.change(IDS[0], "failed")
        before = refused()
        await asyncio.to_thread(wait_until, lambda: refused() > before + 1)
        redis_client.execute_command("ACL", "SETUSER", "viewer", "+xlen")
        told: set[str] = set()
        while screen.problem is not None:
            told = screen.take(await screen.event())
        assert "kinds" in told
    redis_client.acl_deluser("viewer")


async def test_what_no_page_asks(url: str) -> None:
    """A view that is none, or too large, and a token of elsewhere, are refused in words."""
    async with site(url) as own:
        for view in (
            {"rows": [{"kind": "task"}]},
            {"rows": ROWS * 200},
            {"regions": [{"name": "no"}]},
            {"after": "no-token"},
            {"tally": {"reason": "", "count": -(10**30)}},
            {"more": 1},
        ):
            async with showing(own.port, **view) as screen:
                assert screen.head[0].split()[1] in ("400", "422"), view


async def test_there_is_room_for_so_many(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where all of them come at once."""
    monkeypatch.setattr(deployment, "MOST_OPEN", 2)
    async with site(url) as own, AsyncExitStack() as pages:
        opening: list[Coroutine[Any, Any, Listener]] = []
        opening += [pages.enter_async_context(showing(own.port)) for _ in range(5)]
        opening += [pages.enter_async_context(listening(own.port)) for _ in range(5)]
        answers = [each.head[0].split()[1] for each in await asyncio.gather(*opening)]
        assert sorted(answers) == ["200"] * 2 + ["503"] * 8


async def test_there_is_room_for_so_much(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What open pages show is kept in memory."""
    monkeypatch.setattr(rows, "MOST_SHOWN", len(ROWS) + 1)
    async with (
        site(url) as own,
        showing(own.port, rows=ROWS),
        showing(own.port, rows=ROWS[:1]) as few,
        showing(own.port, rows=ROWS) as many,
    ):
        answers = [each.head[0].split()[1] for each in (few, many)]
        assert answers == ["200", "503"]


async def test_a_kind_that_is_not_there(server: Server, redis_client: Redis) -> None:
    """The rules may have dropped it while the page was open."""
    Publisher(redis_client)
    view = {"regions": [{"name": "phases", "kind": "no"}], "rows": [{"kind": "no", "id": "a"}]}
    async with site(server.url, free_port()) as own, showing(own.port, **view) as screen:
        await screen.until(lambda screen: "phases" in screen.html)
        assert screen.problem is None


async def test_a_kind_that_goes_while_its_page_is_open(server: Server, redis_client: Redis) -> None:
    """The page of one of its entities says so; all others go on."""
    published = Publisher(redis_client)
    published.change(IDS[0], "running")
    published.change("a", "created", kind="asset")
    left = {kind: life for kind, life in RULES.kinds.items() if kind != "asset"}
    rules = msgspec.structs.replace(RULES, kinds=left)
    asset = [{"kind": "asset", "id": "a"}]
    async with (
        site(server.url) as own,
        showing(own.port, rows=ROWS[:1]) as other,
        showing(own.port, rows=asset, detail=True) as screen,
    ):
        await screen.until(lambda screen: "created" in screen.html.get("entity", ""))
        redis_client.hset(
            published.deployment.keys.meta,
            mapping=meta_of(deployed(rules, revision=2, partitions=4)),
        )
        await screen.until(lambda screen: "no such kind" in screen.html["entity"])
        published.change(IDS[0], "failed")
        await other.until(shows(IDS[0], "failed"))
        assert (screen.problem, other.problem) == (None, None)
