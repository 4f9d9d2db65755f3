"""The pages as a browser gets them, without JavaScript."""

import html
import json
import re
from typing import Any
from urllib.parse import urljoin

import httpx
import msgspec
import pytest
from status_tracker.dashboard import create_app
from status_tracker.dashboard.application import below
from status_tracker.dashboard.live.view import MOST_ROWS
from status_tracker.rules import MOST_KINDS

from tests.integration.dashboard.asking import asking, showing, site
from tests.line import RULES, deployed
from tests.publishing import Publisher
from tests.servers import Redis, Server

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202erid", "é/✓?&#😀"]
ONE = "export-1"


def text_of(page: str) -> str:
    """Return what a page says, roughly."""
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


async def get(client: httpx.AsyncClient, page: str, status: int = 200, **query: Any) -> str:
    """Return a page."""
    found = await client.get(f"http://localhost/{page}", params=query)
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "text/html; charset=utf-8"
    policy = found.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    return found.text


async def test_a_deployment_with_nothing_in_it(url: str) -> None:
    """Each page says what to do first."""
    async with asking(url) as client:
        assert "status-tracker emit task first-one pending" in await get(client, "")
        assert "There is no task yet" in await get(client, "kind", kind="task")
        assert "No worker is alive" in await get(client, "fleet")
        assert "There is none" in await get(client, "search", q="no")
        assert "Type an id" in await get(client, "search")


async def test_entities_are_listed_and_found(server: Server, published: Publisher) -> None:
    """By phase, from the newest or the oldest on, by beginning, and by the whole id."""
    for number in range(5):
        published.change(f"export-{number}", "running", progress=number / 10)
    published.change(ONE, "failed", errorMessage="disk full", retries=2)
    published.mark("export-3", 1_700_000_000_500)
    async with asking(server.url) as client:
        running = await get(client, "kind", kind="task", phase="running")
        order = re.findall(r"<bdi>(export-\d)</bdi>", running)
        assert order == [f"export-{number}" for number in (4, 3, 2, 0)]
        assert "stalled" in running
        oldest = await get(client, "kind", kind="task", phase="running", order="oldest")
        assert re.findall(r"<bdi>(export-\d)</bdi>", oldest) == order[::-1]
        failed = await get(client, "kind", kind="task", phase="failed")
        assert "disk full" in failed
        assert 'title="retries">2' in failed
        begins = await get(client, "kind", kind="task", phase="running", id="export-3")
        assert re.findall(r"<bdi>(export-\d)</bdi>", begins) == ["export-3"]
        stalled = await get(client, "kind", kind="task", phase="stalled")
        assert re.findall(r"<bdi>(export-\d)</bdi>", stalled) == ["export-3"]
        assert len(re.findall(r"<bdi>export-\d</bdi>", await get(client, "search", q="exp"))) == 5
        found = await client.get("http://localhost/search", params={"q": ONE})
        assert (found.status_code, found.headers["location"]) == (303, f"entity?kind=task&id={ONE}")
        overview = await get(client, "")
        assert "disk full" in overview
        assert "1 task has had no update" in text_of(overview)


async def test_pages_are_turned(server: Server, published: Publisher) -> None:
    """A hundred at a time, to the end, none missed and none twice."""
    ids = [f"t-{number}" for number in range(250)]
    for each in ids:
        published.change(each, "waiting")
    async with asking(server.url) as client:
        address, seen = "http://localhost/kind?kind=task&phase=waiting", []
        for size in (100, 100, 50):
            page = (await client.get(address)).text
            shown = re.findall(r"<bdi>(t-\d+)</bdi>", page)
            assert len(shown) == size
            seen += shown
            following = re.search(r'rel="next" href="([^"]+)"', page)
            address = urljoin(address, html.unescape(following[1])) if following else ""
    assert (sorted(seen), address) == (sorted(ids), "")


async def test_stalled_ones_are_narrowed(server: Server, published: Publisher) -> None:
    """By the beginning of an id, page by page: what was not looked at yet is not called missing."""
    for number in range(120):
        published.change(f"t-{number}", "running")
        published.mark(f"t-{number}", 1_700_000_000_000 + number)
    published.change("other", "running")
    published.mark("other", 1_600_000_000_000)
    async with asking(server.url) as client:
        first = await get(client, "kind", kind="task", phase="stalled", id="other")
        assert "Only 100 were looked at" in first
        assert "None of these has an id that begins" in first
        following = re.search(r'rel="next" href="([^"]+)"', first)
        assert following
        address = urljoin("http://localhost/", html.unescape(following[1]))
        second = (await client.get(address)).text
        assert re.findall(r"<bdi>(other)</bdi>", second) == ["other"]
        assert "were looked at" not in second


async def test_a_phase_that_the_rules_dropped(server: Server, published: Publisher) -> None:
    """Who is still in it is counted, but there is no page of them to lead to."""
    published.change(ONE, "archived")
    async with asking(server.url) as client:
        for found in (await get(client, ""), await get(client, "kind", kind="task")):
            assert "archived" in text_of(found)
            assert "phase=archived" not in found


async def test_the_page_of_an_entity(server: Server, published: Publisher) -> None:
    """Its status, how long each phase lasted, what was rejected of it, and what to type."""
    published.change(ONE, "pending")
    published.change(ONE, "waiting")
    published.change(ONE, "running", progress=0.5, errorMessage="line one\nline two")
    published.reject(ONE, "stale", b'{"kind":"task","id":"export-1"}')
    async with asking(server.url) as client:
        page = await get(client, "entity", kind="task", id=ONE)
        assert re.findall(r'class="what"><span class="chip [^"]+">.*?</svg>(\w+)', page) == [
            "running",
            "waiting",
            "pending",
        ]
        words = text_of(page)
        assert "50 %" in words
        assert "line one\nline two" in words
        assert "stale" in words
        assert "status-tracker set task export-1 completed" in words
        gone = await get(client, "entity", 404, kind="task", id="it's gone")
        assert "It has no status" in gone
        assert "status-tracker emit task 'it'\"'\"'s gone' pending" in text_of(gone)


@pytest.mark.parametrize("entity_id", HOSTILE)
async def test_hostile_text(server: Server, published: Publisher, entity_id: str) -> None:
    """Ids and messages are text on each page, and what cannot be seen is spelt out."""
    message = f"{entity_id}\x1b[2J" + "x" * 10_000
    published.change(entity_id, "failed", errorMessage=message)
    published.reject(entity_id, "malformed", entity_id.encode())
    async with asking(server.url) as client:
        pages: list[tuple[str, dict[str, Any]]] = [
            ("", {}),
            ("kind", {"kind": "task", "phase": "failed"}),
            ("entity", {"kind": "task", "id": entity_id}),
            ("kind", {"kind": "task", "phase": "failed", "id": entity_id}),
        ]
        for page, query in pages:
            text = await get(client, page, **query)
            assert "<script>" not in text
            assert "<img" not in text
            assert not {"\x1b", "\u202e"} & set(
                re.sub(r'(data-copy|data-view|value)="[^"]*"', "", text)
            ), page


@pytest.mark.parametrize(
    ("page", "query", "status", "says"),
    [
        ("kind", {"kind": "no"}, 404, "kind: no; must be task or asset"),
        ("kind", {"kind": "task", "phase": "no"}, 404, "phase: no; must be pending"),
        ("kind", {"kind": "task", "after": "no"}, 400, "after"),
        ("kind", {"kind": "task", "order": "no"}, 400, "order"),
        ("kind", {}, 400, "kind"),
        ("entity", {"kind": "task"}, 400, "id"),
        ("search", {"q": "x" * 300}, 400, "q"),
    ],
)
async def test_what_is_not_there(
    url: str, page: str, query: dict[str, str], status: int, says: str
) -> None:
    """In words, on a page, and with the way back."""
    async with asking(url) as client:
        found = await get(client, page, status, **query)
        assert says in text_of(found)
        assert 'href="./"' in found


async def test_no_server(caplog: pytest.LogCaptureFixture) -> None:
    """It says so, and that one may try again; the URL of Redis is in the log only."""
    async with asking("redis://127.0.0.1:1") as client:
        page = await get(client, "", 503)
    assert "the Redis server cannot be used now" in page
    assert "Try again" in page
    assert "127.0.0.1:1" not in page
    assert "127.0.0.1:1" in caplog.text


async def test_files_are_kept(server: Server, redis_client: Redis) -> None:
    """By addresses that change with what is in them, relative to the page."""
    Publisher(redis_client)
    async with asking(server.url) as client:
        page = await get(client, "")
        found = re.findall(r'(?:href|src)="(static/[^"]+)"', page)
        assert len(found) == 3
        for each in found:
            file = await client.get(f"http://localhost/{each}")
            assert (file.status_code, "immutable" in file.headers["cache-control"]) == (200, True)
        assert (await client.get("http://localhost/static/x/../../pages.py")).status_code == 404
        other = await client.get("http://localhost/static/another-release/app.js")
        assert (other.status_code, other.headers["cache-control"]) == (200, "no-store")


async def test_addresses_are_relative(url: str) -> None:
    """A proxy may have changed host, scheme and path: no answer names any of them."""
    app = create_app(url)
    transport = httpx.ASGITransport(below("/a/status", app))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        found = await client.get("/a/status")
        assert (found.status_code, found.headers["location"]) == (307, "status/")
        assert (await client.get("/a/status/")).status_code == 200
        assert (await client.get("/a/status/kind/?kind=task")).status_code == 404
    await app.state.backing.close()


async def test_many_kinds(redis_client: Redis, server: Server) -> None:
    """However much a page shows, it is kept up."""
    kinds = {f"kind{number}": RULES.kinds["task"] for number in range(MOST_KINDS)}
    rules = msgspec.structs.replace(RULES, kinds=kinds)
    published = Publisher(redis_client, deployed(rules, partitions=4))
    for kind in kinds:
        for number in range(MOST_ROWS // MOST_KINDS + 1):
            published.change(f"t-{number}", "failed", kind=kind, retries=0)
    async with site(server.url) as own, httpx.AsyncClient() as client:
        for page in ("", "search?q=t-", "kind?kind=kind1", "fleet", "rejected"):
            found = await client.get(f"http://localhost:{own.port}/{page}")
            [view] = re.findall(r'data-view="([^"]*)"', found.text)
            async with showing(own.port, **json.loads(html.unescape(view))) as screen:
                await screen.until(lambda screen: "health" in screen.html)


async def test_a_page_that_there_is_not(url: str) -> None:
    """Browsers get a page, with the way back from wherever they are, and programs a problem."""
    async with asking(url) as client:
        for address, back in (("nonsense", "./"), ("fleet/", ".././"), ("a/b/c", "../.././")):
            headers = {"Accept": "text/html,*/*"}
            found = await client.get(f"http://localhost/{address}", headers=headers)
            assert (found.status_code, f'href="{back}"' in found.text) == (404, True), address
        for address in ("nonsense", "api/v1/nonsense"):
            found = await client.get(f"http://localhost/{address}")
            assert found.headers["content-type"] == "application/problem+json"


async def test_links_of_others_add_parameters(url: str) -> None:
    """They do not matter to a page."""
    async with asking(url) as client:
        assert "Overview" in await get(client, "", utm_source="mail")


async def test_what_was_rejected_before_anybody_looked(
    server: Server, published: Publisher
) -> None:
    """It is news, too: the first look is the one of somebody who was woken."""
    for number in range(250):
        published.reject(f"t-{number}", "stale")
    async with asking(server.url) as client:
        assert "250 updates were rejected in the last minute" in text_of(await get(client, ""))
