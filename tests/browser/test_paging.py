"""Very many entities, from the first page to the last."""

import json
import re
from collections import defaultdict
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import httpx
import msgspec
import pytest
from status_tracker.keys import Keys, partition_of

from tests.browser.chromium import Visits
from tests.browser.deployment import Site, serving
from tests.browser.pages import RUNNING, live
from tests.events import NOW
from tests.line import deployed, meta_of
from tests.servers import Redis

pytestmark = pytest.mark.asyncio(loop_scope="session")

MANY = 100_000
AT_ONCE = 2_000
PREFIX = "many"


def publish(client: Redis) -> set[str]:
    """Write the keys of very many entities, as they would be; return their ids."""
    deployment = msgspec.structs.replace(deployed(partitions=4), keys=Keys(PREFIX, "single"))
    ids = [f"many-{number:06}" for number in range(MANY)]
    client.hset(deployment.keys.meta, mapping=meta_of(deployment))
    for first in range(0, MANY, AT_ONCE):
        statuses: dict[str, str] = {}
        entered: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for number, each in enumerate(ids[first : first + AT_ONCE], first):
            own = deployment.keys.partition(partition_of(each, deployment.partitions))
            at = NOW + number // 3  # several at a time
            status = {"phase": "running", "retries": 0, "updatedAt": at}
            statuses[own.status("task", each)] = json.dumps(status)
            entered[own.phase("task", "running")][each] = at
        client.mset(statuses)
        for key, scores in entered.items():
            client.zadd(key, scores)
    client.hset(deployment.keys.partition(0).counts("task"), "running", MANY)
    return set(ids)


def read(url: str) -> list[list[str]]:
    """Follow the links to the last page; return the ids on each."""
    pages = []
    with httpx.Client(timeout=30) as client:
        while True:
            text = client.get(url).raise_for_status().text
            pages.append(re.findall(r'data-copy="([^"]*)"', text))
            onward = re.search(r'<a rel="next" href="([^"]*)"', text)
            if onward is None:
                return pages
            url = urljoin(url, unescape(onward[1]))


async def test_very_many_are_paged_to_the_end(site: Site, visit: Visits, tmp_path: Path) -> None:
    """None is missed and none comes twice; a browser goes the same way."""
    with site.server.client() as client:
        published = publish(client)
    with serving(tmp_path, site.server.url, "--prefix", PREFIX) as url:
        pages = read(url + RUNNING)
        seen = [each for page in pages for each in page]
        assert (len(seen), set(seen) ^ published) == (MANY, set())
        page = await visit(url + RUNNING)
        for ids in pages[:3]:
            await live(page)
            assert (
                await page.locator("[data-copy]").evaluate_all(
                    "(all) => all.map((each) => each.dataset.copy)"
                )
                == ids
            )
            await page.get_by_role("link", name="Next page").click()
        await visit.close()
