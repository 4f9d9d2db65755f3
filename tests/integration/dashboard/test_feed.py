"""The HTTP API's stream of changes, over sockets and on a real server."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from status_tracker.dashboard import streaming
from status_tracker.dashboard.feed import Feed

from tests.events import id_in
from tests.integration.dashboard.asking import DEADLINE, HOSTILE, Listener, listening, site
from tests.publishing import Publisher
from tests.servers import Redis, Server, free_port, wait_until

IDS = [id_in(number % 4, prefix=f"t{number}") for number in range(12)]


async def told(listener: Listener, count: int) -> list[str]:
    """Return the ids of so many events."""
    return [(await listener.event()).data["id"] for _ in range(count)]


async def test_changes_are_told_as_they_come(server: Server, published: Publisher) -> None:
    """As Server-Sent Events with tokens for ids, and as lines where those are asked for."""
    async with (
        site(server.url) as own,
        listening(own.port) as events,
        listening(own.port, accept="application/x-ndjson, */*") as lines,
    ):
        begin = await events.event()
        assert (begin.name, bool(begin.token)) == ("", True)
        assert "content-type: text/event-stream" in events.head
        assert "content-type: application/x-ndjson" in lines.head
        assert (await lines.document())["event"] == "begin"
        published.change(HOSTILE, "pending")
        change = await events.event()
        assert (change.name, change.data["id"], change.data["phase"]) == (
            "change",
            HOSTILE,
            "pending",
        )
        line = await lines.document()
        assert (line["event"], line["token"], line["data"]) == (
            "change",
            change.token,
            change.data,
        )
        published.remove(HOSTILE)
        removed = await events.event()
        assert (removed.name, removed.data) == ("removed", {"kind": "task", "id": HOSTILE})


async def test_whoever_comes_back_misses_nothing(server: Server, published: Publisher) -> None:
    """Wherever it stood: what is kept is told from memory, and what is older from the stream."""
    async with site(server.url) as own:
        async with listening(own.port) as first:
            token = (await first.event()).token
            tokens = [token]
            for each in IDS:
                published.change(each, "running")
                event = await first.event()
                assert event.data["id"] == each
                tokens.append(event.token)
        for number in (0, 5, 11):
            async with listening(own.port, last_event_id=tokens[number]) as again:
                await again.event()
                assert await told(again, 12 - number) == IDS[number:]
    # In another process nothing is kept.
    async with site(server.url) as own, listening(own.port, f"?after={tokens[0]}") as again:
        await again.event()
        seen = await told(again, 12)
        assert [each for each in IDS if each in seen] == IDS
        assert [[x for x in seen if x in part] for part in by_partition()] == by_partition()
        published.change("last", "running")
        assert await told(again, 1) == ["last"]


def by_partition() -> list[list[str]]:
    """Return the ids of each partition: only of those the feed keeps the order."""
    return [IDS[number::4] for number in range(4)]


async def test_each_change_once_through_restarts(own_server: Server) -> None:
    """Of the server, which the stream waits out, and of the process, by the last token."""
    port = free_port()
    seen: list[str] = []
    with own_server.client() as client:
        published = Publisher(client)
        async with AsyncExitStack() as stack:
            own = await stack.enter_async_context(site(own_server.url, port))
            listener = await stack.enter_async_context(listening(port))
            token = (await listener.event()).token
            for each in IDS[:4]:
                published.change(each, "running")
            for _ in range(4):
                event = await listener.event()
                seen.append(event.data["id"])
                token = event.token
            client.close()
            await asyncio.to_thread(own_server.stop)
            await asyncio.to_thread(own_server.start)
            for each in IDS[4:8]:
                published.change(each, "running")
            event = await listener.event()
            seen.append(event.data["id"])
            token = event.token
            await own.stop()
        for each in IDS[8:]:
            published.change(each, "running")
        async with site(own_server.url, port), listening(port, last_event_id=token) as listener:
            await listener.event()
            seen += await told(listener, 7)
    assert seen == IDS


async def test_a_place_that_is_gone_is_told(server: Server, redis_client: Redis) -> None:
    """By `reset`: then read everything again, and go on with its token."""
    published = Publisher(redis_client)
    changes = published.deployment.keys.partition(0).changes
    async with site(server.url) as own:
        async with listening(own.port) as first:
            token = (await first.event()).token
        published.change("a", "running")
        published.change("b", "running")
        redis_client.xtrim(changes, 1, approximate=False)
    async with site(server.url) as own, listening(own.port, f"?after={token}") as late:
        await late.event()
        gone = await late.event()
        assert gone.name == "reset"
        published.change("c", "running")
        assert await told(late, 1) == ["c"]
        # The same for those that are open, where the stream is replaced.
        redis_client.delete(changes)
        published.change("d", "running")
        assert (await late.event()).name == "reset"
        published.change("e", "running")
        assert await told(late, 1) == ["e"]


async def test_many_streams_cost_the_server_what_one_does(
    server: Server, redis_client: Redis
) -> None:
    """One connection waits for changes, for all of them."""
    published = Publisher(redis_client)
    async with site(server.url) as own, AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(listening(own.port)) for _ in range(50)]
        for listener in listeners:
            await listener.event()
        redis_client.config_resetstat()
        for each in IDS:
            published.change(each, "running")
        for listener in listeners:
            assert await told(listener, len(IDS)) == IDS
        calls = redis_client.info("commandstats")["cmdstat_xread"]["calls"]
        # It reads once for what came together, and waits once more.
        assert calls <= len(IDS) + 2
        waiting = [each for each in redis_client.client_list() if each["cmd"] == "xread"]
        assert len(waiting) == 1


async def test_a_slow_reader_is_dropped(
    server: Server, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is kept for it, and the others do not wait."""
    monkeypatch.setattr(streaming, "SLOW_AFTER", 0.3)
    published = Publisher(redis_client)
    async with (
        site(server.url) as own,
        listening(own.port) as slow,
        listening(own.port) as other,
    ):
        backing = own.app.state.backing
        async with asyncio.timeout(DEADLINE):
            number = 0
            while backing.open.count == 2:
                published.change(f"t{number}", "failed", errorMessage="x" * 200_000)
                number += 1
                await other.event()
        assert backing.open.count == 1
        published.change("last", "running")
        while (await other.event()).data.get("id") != "last":
            pass
        del slow


async def test_what_is_kept_has_an_end(server: Server, redis_client: Redis) -> None:
    """The oldest goes; whoever stands there finds nothing, and reads the stream itself."""
    published = Publisher(redis_client)
    async with site(server.url) as own:
        backing = own.app.state.backing
        backing.feed = Feed(backing.reader, kept=3)
        async with listening(own.port) as listener:
            token = (await listener.event()).token
            for each in IDS:
                published.change(each, "running")
                await listener.event()
        assert backing.feed.chunk(0) is None
        assert backing.feed.since(token) is None
        async with listening(own.port, last_event_id=token) as again:
            await again.event()
            assert await told(again, 12) == IDS
        await backing.feed.close()


async def test_it_stops_at_once(server: Server, redis_client: Redis) -> None:
    """With streams and waits open, which end; whoever waits is told to come again."""
    Publisher(redis_client)
    async with site(server.url) as own, listening(own.port) as listener:
        await listener.event()
        reader, writer = await asyncio.open_connection("127.0.0.1", own.port)
        path = "/api/v1/entity/wait?kind=task&id=a&timeout=60"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        backing = own.app.state.backing
        await asyncio.to_thread(wait_until, lambda: backing.open.count == 2)
        async with asyncio.timeout(DEADLINE):
            await own.stop()
            with pytest.raises(EOFError):
                await listener.event()
            assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()


async def test_there_is_room_for_so_many(
    server: Server, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More are asked to come later; one that went makes room."""
    monkeypatch.setattr("status_tracker.dashboard.deployment.MOST_OPEN", 1)
    Publisher(redis_client)
    async with site(server.url) as own:
        async with listening(own.port) as first, listening(own.port) as second:
            assert first.head[0].startswith("HTTP/1.1 200")
            assert second.head[0].startswith("HTTP/1.1 503")
        backing = own.app.state.backing
        await asyncio.to_thread(wait_until, lambda: backing.open.count == 0)
        async with listening(own.port) as third:
            assert third.head[0].startswith("HTTP/1.1 200")
