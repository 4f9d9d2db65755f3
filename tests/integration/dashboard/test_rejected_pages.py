"""The pages of what was rejected, on a real server; a browser's part is tested elsewhere."""

import asyncio
import html
import json
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from status_tracker.dashboard import create_app
from status_tracker.dashboard.live.hub import Hub
from status_tracker.dashboard.live.view import Tally, View
from status_tracker.dashboard.pages import rejected

from tests.events import NOW, update
from tests.integration.dashboard.asking import DEADLINE, acting, asking
from tests.publishing import Publisher
from tests.servers import Server

LIST, ENTRY = "../../rejected", "../../rejected-entry"

EVIL = "<script>alert(1)</script>\u202e\x1b[2J😀" + "x" * 10_000


def entries_in(page: httpx.Response) -> list[str]:
    """Return the entries that a page lists."""
    return [html.unescape(each) for each in re.findall(r'<li data-entry="([^"]*)"', page.text)]


def link_in(page: httpx.Response, text: str) -> dict[str, str]:
    """Return the parameters of a link by its text."""
    found = re.search(rf'href="([^"]*)">{text}</a>', page.text)
    assert found, page.text
    query = urlsplit(html.unescape(found[1])).query
    return {name: value for name, [value] in parse_qs(query).items()}


async def test_nothing_was_rejected(url: str) -> None:
    """The page says what would be here; an entry that is gone is told from a wrong name."""
    async with asking(url) as client:
        empty = await client.get(LIST)
        assert (empty.status_code, entries_in(empty)) == (200, [])
        assert "No update was rejected" in empty.text
        none = await client.get(LIST, params={"reason": "stale", "kind": "", "id": ""})
        assert "None is kept" in none.text
        gone = await client.get(ENTRY, params={"entry": "1-1"})
        assert (gone.status_code, "Not kept any more" in gone.text) == (404, True)
        for path in (f"{ENTRY}?entry=no", f"{LIST}?after=x", f"{LIST}?after=~x"):
            assert (await client.get(path)).status_code == 400


async def test_they_are_grouped_by_reason(server: Server, published: Publisher) -> None:
    """With how many, of which kinds, and the last one; one reason has a page of its own."""
    for number in range(5):
        kind = "asset" if number == 3 else "task"
        data = update(f"t-{number}", "running", kind=kind)
        published.reject("one-partition", "stale" if number else "future", data)
    published.client.hset(
        published.deployment.keys.partition(0).partition, mapping={"rejected:stale": 70}
    )
    async with asking(server.url) as client:
        page = await client.get(LIST)
        [*_, rows] = re.findall(r"<tbody>(.*?)</tbody>", page.text, re.DOTALL)
        [stale, future] = rows.split("</tr>")[:2]
        cells = [
            " ".join(re.sub(r"<[^>]*>", " ", each).split())
            for each in re.findall(r"<t[hd].*?</t[hd]>", stale, re.DOTALL)
        ]
        assert cells[:4] == ["stale", "4", "70", "task 3 · asset 1"]
        assert cells[4] == "task t-4 one-partition is wrong"
        assert "task t-0" in future
        assert len(entries_in(page)) == 5
        of_reason = await client.get(LIST, params=link_in(page, "stale"))
        assert len(entries_in(of_reason)) == 4
        assert "A newer update of the entity had come before." in of_reason.text
        assert "replay --reason=stale --dry-run" in of_reason.text
        of_kind = await client.get(LIST, params={"kind": "asset"})
        of_id = await client.get(LIST, params={"reason": "stale", "id": "t-3"})
        assert entries_in(of_kind) == entries_in(of_id)
        assert len(entries_in(of_id)) == 1


async def test_there_are_many(
    server: Server, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are paged through to the end, and a page says what it did not look at."""
    monkeypatch.setattr(rejected, "ON_A_PAGE", 20)
    monkeypatch.setattr(rejected, "LOOKED_AT", 60)
    for number in range(200):
        reason = "stale" if number % 2 else "future"
        published.reject(f"t-{number}", "malformed" if number < 2 else reason, b"?" * 1_000)
    async with asking(server.url) as client:
        first = page = await client.get(LIST, params={"reason": "stale"})
        assert "of the newest" in first.text
        seen = entries_in(page)
        while "Older ones</a>" in page.text:
            page = await client.get(LIST, params=link_in(page, "Older ones"))
            seen += entries_in(page)
        assert (len(seen), len(set(seen))) == (99, 99)
        assert entries_in(await client.get(LIST, params=link_in(page, "The newest")))[0] == seen[0]
        rare = await client.get(LIST, params={"reason": "malformed"})
        assert entries_in(rare) == []
        assert re.search("There is none among the [0-9]+ that were looked at", rare.text)
        monkeypatch.setattr(rejected, "LOOKED_AT", 10_000)
        monkeypatch.setattr(rejected, "MOST_BYTES", 30_000)
        cut = await client.get(LIST)
        assert "This is about the newest " in cut.text
        entity = await client.get("../../entity?kind=task&id=none")
        [count] = re.findall("among the last ([0-9]+) that are kept", entity.text)
        assert int(count) < 1_000


@pytest.mark.parametrize("data", [EVIL.encode(), b"\xff\x00" + EVIL.encode(), b""])
async def test_hostile_entries(server: Server, published: Publisher, data: bytes) -> None:
    """No page is broken by what somebody sent, and nothing of it is a tag."""
    named = json.dumps({"kind": EVIL, "id": EVIL, "phase": EVIL}).encode()
    own = published.deployment.keys.partition(0)
    for sent in (data, named):
        entry = {"reason": EVIL, "detail": EVIL, "data": sent, "stream": EVIL, "id": EVIL}
        published.client.xadd(own.rejected, entry)
    async with acting(server.url) as client:
        page = await client.get(LIST)
        pages = [page, await client.get("../../"), await client.get(LIST, params={"reason": EVIL})]
        assert len(entries_in(page)) == 2
        names = [*entries_in(page), EVIL]
        pages += [await client.get(ENTRY, params={"entry": name}) for name in names]
    assert [each.status_code for each in pages] == [200] * 5 + [400]
    for each in pages:
        assert "<script>alert" not in each.text
        # What is copied, or sent again by a form, is as it was.
        seen = re.sub(r'(data-copy|data-view|value)="[^"]*"', "", each.text)
        assert not {"\x1b", "\u202e"} & set(seen)


async def test_one_entry(server: Server, published: Publisher) -> None:
    """Of whom, why, its bytes, what would become of it, and where it leads."""
    published.change("a/b?", "pending")
    published.reject("a/b?", "illegal_transition", update("a/b?", "waiting", NOW + 9))
    published.reject("x", "malformed", b"\xffoops")
    async with asking(server.url) as client:
        for entry in entries_in(await client.get(LIST)):
            page = await client.get(ENTRY, params={"entry": entry})
            assert page.status_code == 200
            assert f"status-tracker rejected replay {entry} --dry-run" in page.text
            assert "data-act" not in page.text
            if "malformed" in page.text:
                assert "would be refused" in page.text
                assert "000000  ff 6f 6f 70 73" in page.text
            else:
                assert "would be applied" in page.text
                assert 'href="entity?kind=task&amp;id=a%2Fb%3F"' in page.text
                assert "&#34;phase&#34;: &#34;waiting&#34;" in page.text
    async with acting(server.url) as client:
        page = await client.get(ENTRY, params={"entry": entry})
        assert re.findall(r'hidden data-act="(\w+)"', page.text) == ["replay", "purge"]
        page = await client.get(LIST, params={"reason": "malformed"})
        assert "Purge these 1…" in page.text


async def test_news_of_what_is_rejected(server: Server, published: Publisher) -> None:
    """A page that is open is told how many came on top; where totals were lost, they begin anew."""
    app = create_app(server.url)
    backing = app.state.backing
    hub = Hub(backing)
    hash_of = published.deployment.keys.partition(0).partition
    published.client.hset(hash_of, mapping={"rejected:stale": 10, "rejected:future": 1})
    await backing.feed.open()
    with hub.keeping_up(View(tally=Tally("stale", 8))) as page:
        for ever, news in ((10, 2), (13, 3)):
            published.client.hset(hash_of, "rejected:stale", ever)
            told = 0
            async with asyncio.timeout(DEADLINE):
                while told < news:
                    await page.moved()
                    told += page.take()["news"]
            assert told == news
        page.rejected(4)
        page.rejected(5)
        assert page.take()["news"] == 1
    await hub.close()
    await backing.close()
