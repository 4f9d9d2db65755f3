"""The documentation says what is: each of its blocks is run, and prints what the page says."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from status_tracker.keys import Keys

from tests.acceptance.tracker import drained, tracker
from tests.command import environment
from tests.docs import PAGES, ROOT, Runner, blocks, fits, why_not
from tests.servers import Server, binaries, wait_until

KEYS = Keys("status", "single")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def docs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all pages, which has no users: so the pages have it."""
    folder = tmp_path_factory.mktemp("docs")
    with Server(binaries()["valkey"], folder, secured=False) as server:
        yield server


RUN = [page for page in PAGES if any(not why_not(block) for block in blocks(page))]


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli is not there")
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page(page: Path, docs_server: Server, tmp_path: Path) -> None:
    """Whoever types them sees what the page shows, on an empty deployment."""
    folder = tmp_path / "reader"
    folder.mkdir()
    here = Path(sys.executable).parent
    path = f"{here}:{os.environ['PATH']}"
    variables = environment(STATUS_REDIS_URL=docs_server.url, PATH=path, COLUMNS="100")
    runner = Runner(folder, docs_server.port, variables)
    with docs_server.client() as client:
        client.flushall()
        with tracker(tmp_path / "worker", "--redis-url", docs_server.url):
            wait_until(lambda: drained(client, KEYS))
            for block in blocks(page):
                if why_not(block):
                    continue
                for what, printed, wanted in runner.run(block):
                    wait_until(lambda: drained(client, KEYS))
                    says = f"{page.name}:{block.line}: {what}\n{printed}"
                    assert "Traceback" not in printed, says
                    assert wanted is None or fits(printed, wanted), f"{says}\nwanted:\n{wanted}"


def test_what_is_not_run_says_why() -> None:
    """Only what cannot be run is not; each page is looked at."""
    reasons = [why for page in PAGES for block in blocks(page) if (why := why_not(block))]
    assert all(len(why) > len("not run: ") for why in reasons)
    assert len([why for why in reasons if "is not there" not in why]) <= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_leads_nowhere(page: Path) -> None:
    """Pages link by their files, which are there, in the repository as on the site."""
    for target in LINK.findall(page.read_text()):
        if not target.startswith(("http", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target
