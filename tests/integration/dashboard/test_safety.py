"""Who may ask the HTTP API, what it refuses, and what it never shows."""

import asyncio
import base64
import json
import logging
import re
from typing import Any

import pytest
from status_tracker.dashboard import asking as requests
from status_tracker.dashboard import basic, bearer, create_app, proxy
from status_tracker.settings import default_file

from tests.events import NOW, update
from tests.integration.dashboard.asking import (
    AUTH,
    HOSTILE,
    SECRET,
    acting,
    asking,
    listening,
    showing,
    site,
)
from tests.publishing import Publisher
from tests.servers import Redis, Server, free_port

PENDING = {"kind": "task", "id": HOSTILE, "phase": "pending"}


async def test_updates_are_taken(server: Server, published: Publisher) -> None:
    """One or many, checked as an emitter does, in their partitions' streams."""
    async with acting(server.url) as client:
        one = await client.post("updates", json=PENDING)
        many = [PENDING | {"phase": "waiting"}, PENDING | {"phase": "running", "progress": 0.5}]
        two = await client.post("updates", json=many)
        assert [(each.status_code, each.json()) for each in (one, two)] == [
            (202, {"accepted": 1}),
            (202, {"accepted": 2}),
        ]
        wrong = await client.post("updates", json=[*many, PENDING | {"phase": "no"}])
        assert (wrong.status_code, wrong.json()["field"], wrong.json()["accepted"]) == (
            422,
            "phase",
            2,
        )
    assert [each["phase"] for each in entries(published)] == [
        "pending",
        *["waiting", "running"] * 2,
    ]


async def test_entities_are_removed(server: Server, published: Publisher) -> None:
    """By entries in the streams: what becomes of them is the workers' to decide."""
    async with acting(server.url) as client:
        removed = await client.post("remove", json={"kind": "task", "ids": [HOSTILE]})
    assert (removed.status_code, removed.json()) == (202, {"accepted": 1})
    assert entries(published) == [["task", HOSTILE]]


async def test_entries_are_replayed(server: Server, published: Publisher) -> None:
    """The oldest first, those that hold an update; a dry run sends none, and says what they do."""
    first = update(HOSTILE, "pending", at=NOW)
    second = update(HOSTILE, "waiting", at=NOW + 1)
    published.reject(HOSTILE, "future", first.replace(b"{", b'{"trace": 1, ', 1))
    published.reject(HOSTILE, "malformed", b"{")
    published.reject(HOSTILE, "oversized", first)
    for data in (second, first, update("no-life", "running", at=NOW)):
        published.reject(HOSTILE, "unknown_entity", data)
    async with acting(server.url) as client:
        kept = (await client.get("rejected?order=newest")).json()["entries"]
        names = [each["entry"] for each in kept][::-1]
        gone = names[0].replace(names[0].rpartition("/")[2], "1-1")
        asked = {"entries": [*names[::-1], gone]}
        dry = await client.post("rejected/replay", json={**asked, "dryRun": True})
        assert dry.status_code == 200
        assert entries(published) == []
        foreseen = {each["entry"]: each for each in dry.json()["entries"]}
        assert [foreseen[each]["outcome"] for each in [gone, *names]] == [
            *["left", "applied", "left", "left"],
            *["applied", "rejected", "rejected"],
        ]
        assert json.loads(foreseen[names[3]]["detail"])["phase"] == "waiting"
        assert foreseen[names[5]]["detail"].startswith("unknown_entity: ")
        found = await client.post("rejected/replay", json=asked)
    assert found.status_code == 202
    assert found.json()["sent"] == [names[place] for place in (0, 3, 4, 5)]
    assert {each["entry"] for each in found.json()["left"]} == {names[1], names[2], gone}
    sent = [each for each in entries(published) if each["id"] == HOSTILE]
    assert sent == [json.loads(each) for each in (first, second, first)]


async def test_entries_are_purged(server: Server, published: Publisher) -> None:
    """Those that are named, where there still are some; a name that is none is refused."""
    for number in range(5):
        published.reject(f"t-{number}", "stale")
    async with acting(server.url) as client:
        names = [each["entry"] for each in (await client.get("rejected")).json()["entries"]]
        for purged in (3, 0):
            found = await client.post("rejected/purge", json={"entries": names[:3]})
            assert (found.status_code, found.json()) == (200, {"purged": purged})
        left = (await client.get("rejected")).json()["entries"]
        assert [each["entry"] for each in left] == names[3:]
        wrong = await client.post("rejected/purge", json={"entries": ["no"]})
        assert (wrong.status_code, wrong.json()["field"]) == (400, "entry")


def entries(published: Publisher) -> list[Any]:
    """Return what was added to the streams, without what an emitter fills in."""
    found: list[Any] = []
    for number in range(4):
        for _, fields in published.client.xrange(published.deployment.keys.events(number)):
            if "remove" in fields:
                found += json.loads(fields["remove"])
            else:
                found.append(json.loads(fields["data"]))
    return found


async def test_a_failover(own_server: Server) -> None:
    """While the server is a replica, it is read, and whoever acts is told to come again."""
    with own_server.client() as client:
        Publisher(client).change("a", "running")
        client.replicaof("127.0.0.1", free_port())
    async with acting(own_server.url) as asks:
        assert (await asks.get("entity?kind=task&id=a")).status_code == 200
        sent = await asks.post("updates", json=PENDING)
    assert (sent.status_code, sent.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"\xff", {}, 400),
        (b'{"a":' * 100_000, {}, 400),
        (b"5", {}, 422),
        (b"[]", {}, 422),
        (b'[{"kind":"task","id":"a","phase":"pending","clock":1}]', {}, 422),
        (b'{"kind":["task"],"id":{},"phase":1}', {}, 422),
        (b'{"kind":"task","id":"a b","phase":"pending"}', {}, 422),
        (b'{"kind":"task","id":"\\ud800","phase":"pending"}', {}, 400),
        (b" " * 1_100_000, {}, 413),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Sec-Fetch-Site": "cross-site"}, 403),
        (b"{}", {"Sec-Fetch-Site": "same-site"}, 403),
        (b"{}", {"Origin": "https://elsewhere.example"}, 403),
        (b"{}", {"Origin": "null"}, 403),
        (b"{}", {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, 422),
    ],
)
async def test_what_is_refused(url: str, body: bytes, headers: dict[str, str], status: int) -> None:
    """Bodies that are no updates, and what a page elsewhere has a browser send."""
    async with acting(url) as client:
        json_type = {"Content-Type": "application/json"}
        found = await client.post("updates", content=body, headers=json_type | headers)
    assert (found.status_code, found.json()["status"]) == (status, status), found.text


async def test_it_only_reads_unless_told(url: str) -> None:
    """Nothing acts without auth, and without being allowed."""
    with pytest.raises(ValueError, match="give auth"):
        create_app(url, allow_actions=True)
    async with asking(url) as client:
        assert (await client.post("updates", json=PENDING)).status_code == 404
        assert (await client.post("kinds", json={})).status_code == 405
        assert "/updates" not in (await client.get("openapi.json")).json()["paths"]


async def test_whoever_may_not_is_told_nothing(url: str) -> None:
    """Not even which endpoints there are."""
    async with acting(url) as client:
        for wrong in ("", "Bearer", "Bearer x", "Basic eDp5", "Bearer é"):
            headers = {b"Authorization": wrong.encode("latin-1")}
            for path in ("kinds", "openapi.json", "no"):
                found = await client.get(path, headers=headers)
                assert found.status_code == 401
                assert found.headers["www-authenticate"].startswith("Bearer")


async def test_basic_and_a_proxy_in_front(url: str) -> None:
    """A password, or a header that is believed from some addresses only."""
    async with asking(url, auth=basic("me", "pass:wörd")) as client:
        right = base64.b64encode("me:pass:wörd".encode()).decode()
        for said, status in ((right, 200), (right[:-4], 401), ("?", 401)):
            found = await client.get("kinds", headers={"Authorization": f"Basic {said}"})
            assert found.status_code == status
    for addresses, status in ((["127.0.0.0/8"], 200), (["10.0.0.1", "::1"], 401)):
        async with asking(url, auth=proxy("X-User", addresses)) as client:
            assert (await client.get("kinds", headers={"X-User": "me"})).status_code == status
            assert (await client.get("kinds")).status_code == 401


async def test_pages_elsewhere(url: str) -> None:
    """They may ask where they are named, also when something is wrong; others may not."""
    page = "https://status.example"
    async with acting(url, origins=[page]) as client:
        for origin, allowed in ((page, page), ("https://other.example", None)):
            found = await client.get("kinds/no/counts", headers={"Origin": origin})
            assert found.headers.get("access-control-allow-origin") == allowed
        asked = {"Origin": page, "Access-Control-Request-Method": "POST"}
        ahead = await client.options("updates", headers=asked)
        assert ahead.status_code == 200
        sent = {"Origin": page, "Sec-Fetch-Site": "cross-site"}
        assert (await client.post("updates", json=PENDING, headers=sent)).status_code == 202
    async with asking(url) as client:
        found = await client.get("kinds", headers={"Origin": page})
        assert "access-control-allow-origin" not in found.headers


async def test_no_name_of_another_leads_here(url: str) -> None:
    """A page elsewhere could have its own name lead to a loopback address."""
    async with asking(url, hosts=["localhost", "[::1]"]) as client:
        for host, status in (
            ("localhost:8380", 200),
            ("[::1]:80", 200),
            ("LOCALHOST", 200),
            ("evil.example", 421),
            ("", 421),
        ):
            assert (await client.get("kinds", headers={"Host": host})).status_code == status


async def test_every_answer_has_its_headers(url: str) -> None:
    """Also those that say what went wrong."""
    async with asking(url) as client:
        for path in ("kinds", "no", "entity?kind=task&id=no"):
            headers = (await client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["x-frame-options"] == "DENY"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_nothing_is_injected(
    url: str, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a header nor a line of the log, whatever is asked for."""
    caplog.set_level(logging.DEBUG)
    redis_client.hset("status:meta", "version", "9\r\nX-Evil: 1\n\x1b[31m")
    async with asking(url) as client:
        for path in ("kinds/a%0D%0AX-Evil:%201/counts", "entity?kind=task&id=a%0D%0AX-Evil:%201"):
            found = await client.get(path)
            assert "x-evil" not in found.headers
            assert "\n" not in json.loads(found.text)["detail"]
    ours = [each for each in caplog.records if each.name.startswith("status_tracker")]
    assert ours
    assert not any("\n" in each.getMessage() or "\x1b" in each.getMessage() for each in ours)


async def test_a_body_has_to_come(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever says that there is one and does not send it is told so."""
    monkeypatch.setattr(requests, "BODY_WITHIN", 0.05)

    async with site(url, auth=bearer(SECRET), allow_actions=True) as own:
        reader, writer = await asyncio.open_connection("127.0.0.1", own.port)
        head = {"Host": "localhost", **AUTH, "Content-Length": "9"}
        head["Content-Type"] = "application/json"
        lines = [f"{name}: {value}" for name, value in head.items()]
        writer.write("\r\n".join(["POST /api/v1/updates HTTP/1.1", *lines, "", ""]).encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_which_users_of_redis_it_needs_to_be(
    server: Server, redis_client: Redis, published: Publisher
) -> None:
    """`reader` and `metrics` of `config/users.acl`; for actions also `producer`."""
    published.change("a", "running")
    rules = [rule for name in ("reader", "metrics") for rule in rules_of(name)]
    redis_client.execute_command("ACL", "SETUSER", "viewer", "on", ">secret", *rules)
    url = server.url.replace("redis://", "redis://viewer:secret@")
    published.reject("a", "stale", update("a", "completed"))
    paths = ["kinds", "entity?kind=task&id=a", "rejected", "rejected?order=newest", "fleet"]
    paths += ["stalled?kind=task"]
    paths += ["kinds/task/entities?phase=running", "kinds/task/counts", "openapi.json"]
    paths += ["entity/history?kind=task&id=a", "entity/wait?kind=task&id=a&until=running"]
    paths += ["../../", "../../rejected", "../../kind?kind=task", "../../entity?kind=task&id=a"]
    paths += ["../../fleet", "../../search?q=b", "../../kind?kind=task&phase=running&id=a"]
    paths += ["../../kind?kind=task&phase=stalled"]
    async with asking(url) as client:
        answers = [await client.get(path) for path in paths]
        [kept] = (await client.get("rejected")).json()["entries"]
        page = await client.get(f"../../rejected-entry?entry={kept['entry']}")
        assert "Sent again as this page was loaded, it" in page.text
    row = {"kind": "task", "id": "a"}
    regions = [{"name": "kinds"}, {"name": "partitions"}, {"name": "lifecycle", "kind": "task"}]
    async with (
        site(url) as own,
        listening(own.port) as stream,
        showing(own.port, rows=[row], detail=True, regions=regions) as screen,
    ):
        await screen.until(lambda screen: len(screen.html) == 6)
        assert screen.problem is None
        await stream.event()
        published.change("a", "completed")
        assert (await stream.event()).data["phase"] == "completed"
    redis_client.execute_command("ACL", "SETUSER", "viewer", *rules_of("producer"))
    async with acting(url) as client:
        sent = await client.post("updates", json=PENDING)
        removed = await client.post("remove", json={"kind": "task", "ids": ["a"]})
        [entry] = (await client.get("rejected")).json()["entries"]
        named = {"entries": [entry["entry"]]}
        dry = await client.post("rejected/replay", json={**named, "dryRun": True})
        refused = await client.post("rejected/purge", json=named)
        redis_client.execute_command("ACL", "SETUSER", "viewer", "(+xdel %W~status:rejected*)")
        purged = await client.post("rejected/purge", json=named)
    redis_client.acl_deluser("viewer")
    done = [sent, removed, dry, refused, purged]
    assert [each.status_code for each in done] == [202, 202, 200, 403, 200]
    assert "XDEL" in refused.json()["detail"]
    assert [each.status_code for each in answers] == [200] * len(paths)


def rules_of(name: str) -> list[str]:
    """Return what a user of `config/users.acl` may."""
    lines = default_file("users.acl").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"user {name} ")]
    return re.findall(r"\([^)]*\)|\S+", line.partition("-OF-")[2].partition(" ")[2])
