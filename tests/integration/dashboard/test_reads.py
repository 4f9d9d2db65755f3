"""The HTTP API's reading endpoints, on a real server."""

import asyncio
import json
import signal
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from status_tracker.dashboard import asking as requests
from status_tracker.dashboard import create_app
from status_tracker.rules import parse_rules, rules_json

from tests.events import NOW, update
from tests.integration.dashboard.asking import HOSTILE, asking
from tests.line import RULES, deployed
from tests.publishing import Publisher
from tests.servers import Redis, Server, free_port


async def test_what_a_front_end_reads(server: Server, published: Publisher) -> None:
    """Each endpoint that reads, of an entity whose id holds what URLs are made of."""
    published.change("first", "running")
    published.change(HOSTILE, "pending")
    published.change(HOSTILE, "running", progress=0.25)
    published.mark(HOSTILE, NOW)
    wrong = update(HOSTILE, "completed")
    published.reject(HOSTILE, "illegal_transition", wrong)
    status = {"phase": "running", "retries": 0, "progress": 0.25, "updatedAt": NOW + 3}
    who = f"kind=task&id={quote(HOSTILE, safe='')}"
    async with asking(server.url) as client:
        [task, _] = (await client.get("kinds")).json()["kinds"]
        assert (task["kind"], task["phases"][:2], task["maxRetries"]) == (
            "task",
            ["pending", "waiting"],
            3,
        )
        assert task["edges"]["failed"]["waiting"] == "retry"
        counts = (await client.get("kinds/task/counts")).json()["counts"]
        assert (list(counts), counts["running"]) == (task["phases"], 2)
        page = (await client.get("kinds/task/entities?phase=running&limit=1")).json()
        assert page["entities"] == [{"id": HOSTILE, "status": status, "since": NOW + 3}]
        more = await client.get(f"kinds/task/entities?phase=running&limit=1&after={page['after']}")
        assert [each["id"] for each in more.json()["entities"]] == ["first"]
        oldest = await client.get("kinds/task/entities?phase=running&order=oldest")
        assert [each["id"] for each in oldest.json()["entities"]] == ["first", HOSTILE]
        found = await client.get(f"entity?{who}")
        assert found.json() == {"kind": "task", "id": HOSTILE, "status": status}
        known = {"If-None-Match": f'"other", W/{found.headers["etag"]}'}
        assert (await client.get(f"entity?{who}", headers=known)).status_code == 304
        [newest, oldest_change] = (await client.get(f"entity/history?{who}")).json()["changes"]
        assert (newest["from"], oldest_change["phase"]) == ("pending", "pending")
        waited = (await client.get(f"entity/wait?{who}&until=failed,running")).json()
        assert waited == {"kind": "task", "id": HOSTILE, "reached": True, "status": status}
        late = (await client.get(f"entity/wait?{who}&timeout=0.01")).json()
        assert (late["reached"], late["status"]) == (False, status)
        [entry] = (await client.get("rejected?reason=illegal_transition")).json()["entries"]
        assert (entry["kind"], entry["id"], entry["data"]) == ("task", HOSTILE, wrong.decode())
        assert (await client.get("rejected?reason=stale")).json()["entries"] == []
        published.reject("newer", "stale")
        newest = (await client.get("rejected?order=newest&limit=1")).json()
        assert [each["reason"] for each in newest["entries"]] == ["stale"]
        last = (await client.get(f"rejected?order=newest&after={newest['after']}")).json()
        assert ([each["entry"] for each in last["entries"]], last["after"]) == (
            [entry["entry"]],
            None,
        )
        [marked] = (await client.get("stalled?kind=task")).json()["entities"]
        assert marked == {"id": HOSTILE, "status": status, "since": NOW}
        fleet = (await client.get("fleet")).json()
        assert fleet["problems"] == [f"partition {number} has no owner" for number in range(4)]


async def test_a_kind_may_be_called_as_an_endpoint(server: Server, redis_client: Redis) -> None:
    """It stands below `kinds`, where it is in nobody's way."""
    tables = json.loads(rules_json(RULES))
    tables["fleet"] = tables.pop("task")
    published = Publisher(redis_client, deployed(parse_rules(tables), partitions=4))
    published.change("a", "running", kind="fleet", retries=0)
    async with asking(server.url) as client:
        assert (await client.get("kinds/fleet/counts")).json()["counts"]["running"] == 1
        assert (await client.get("entity?kind=fleet&id=a")).status_code == 200
        assert "workers" in (await client.get("fleet")).json()


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("kinds/no/counts", 404, "kind"),
        ("entity?kind=task&id=never", 404, "id"),
        ("entity?kind=task", 400, "id"),
        ("entity?kind=task&id=a&di=b", 400, "di"),
        ("kinds/task/entities?phase=no", 400, "phase"),
        ("kinds/task/entities?phase=running&limit=1001", 400, "limit"),
        ("kinds/task/entities?phase=running&after=!", 400, "after"),
        ("kinds/task/entities?phase=running&order=best", 400, "order"),
        ("entity/wait?kind=task&id=a&until=settled,no", 400, "until"),
        ("entity/wait?kind=task&id=a&timeout=nan", 400, "timeout"),
        ("changes?after=x", 400, "after"),
        ("changes?after=kA%0A%0Aevent:%20change", 400, "after"),
        ("no/such/path", 404, None),
    ],
)
async def test_what_cannot_be_answered_is_a_problem(
    url: str, path: str, status: int, field: str | None
) -> None:
    """As RFC 9457 has it, in one line, with the field to change."""
    async with asking(url) as client:
        found = await client.get(path)
    assert (found.status_code, found.json().get("field")) == (status, field)
    assert found.headers["content-type"] == "application/problem+json"
    assert found.json()["status"] == status
    assert "\n" not in found.json()["detail"]


async def test_an_entity_that_is_not_there(server: Server, redis_client: Redis) -> None:
    """Whether it may have been taken away follows from the rules."""
    tables = json.loads(rules_json(RULES))
    tables["asset"].pop("retention", None)
    Publisher(redis_client, deployed(parse_rules(tables), partitions=4))
    async with asking(server.url) as client:
        task = (await client.get("entity?kind=task&id=a")).json()
        asset = (await client.get("entity?kind=asset&id=a")).json()
    assert (task["mayHaveBeenRemoved"], asset["mayHaveBeenRemoved"]) == (True, False)
    assert "taken away some time after it was failed, completed or cancelled" in task["detail"]


async def test_it_is_mounted_below_a_prefix(url: str) -> None:
    """All of it, in an application of somebody else's."""

    def around(app: Starlette) -> Starlette:
        return Starlette(routes=[Mount("/ops/status", app)])

    async with asking(url, below="/ops/status", around=around) as client:
        assert (await client.get("kinds")).status_code == 200
        assert (await client.get("openapi.json")).json()["servers"] == [{"url": "."}]
        assert (await client.get("no")).json()["status"] == 404


async def test_no_server(caplog: pytest.LogCaptureFixture) -> None:
    """503 and when to come back; where the server is, with its password, only the log may know."""
    url = f"redis://user:secret@127.0.0.1:{free_port()}/0"
    async with asking(url) as client:
        paths = ("kinds", "fleet", "changes", "entity/wait?kind=task&id=a")
        for found in await asyncio.gather(*map(client.get, paths)):
            assert (found.status_code, found.headers["retry-after"]) == (503, "1")
            assert "127.0.0.1" not in found.text
    assert "secret" not in caplog.text


async def test_a_slow_server(server: Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for longer than a request may take."""
    monkeypatch.setattr(requests, "ANSWERED_WITHIN", 0.1)
    server.signal(signal.SIGSTOP)
    try:
        async with asking(url) as client:
            found = await client.get("kinds")
    finally:
        server.signal(signal.SIGCONT)
    assert (found.status_code, found.headers["retry-after"]) == (503, "1")


async def test_no_deployment(server: Server) -> None:
    """Its workers may come in a moment."""
    async with asking(server.url) as client:
        found = await client.get("kinds")
    assert (found.status_code, "retry-after" in found.headers) == (503, True)


async def test_a_bug_is_told_to_the_log_only(
    url: str, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever was not foreseen: no traceback leaves it, and all headers are there."""
    app = create_app(url)

    async def broken() -> None:
        raise RuntimeError("of ours")

    app.state.backing.look = broken
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        found = await client.get("/api/v1/fleet")
    await app.state.backing.close()
    assert (found.status_code, found.headers["x-frame-options"]) == (500, "DENY")
    assert "of ours" not in found.text
    assert "of ours" in caplog.text
