"""The diagram on the page of a kind, and the same drawn again while the page is open."""

import html
import re

import httpx
import msgspec
from status_tracker.dashboard import create_app
from status_tracker.dashboard.live.drawing import draw_region
from status_tracker.dashboard.live.view import Region, View

from tests.publishing import Publisher
from tests.servers import Server


async def test_its_counts_are_kept_up(server: Server, published: Publisher) -> None:
    """The page asks for the diagram's region; it is drawn as the page has it, or all would move."""
    published.change("first", "running")
    app = create_app(server.url)
    transport = httpx.ASGITransport(app)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/") as client:
            page = (await client.get("kind?kind=task&phase=running")).text
        region = Region("lifecycle", "task")
        view = re.search('data-view="([^"]*)"', page)
        assert view is not None
        assert region in msgspec.json.decode(html.unescape(view[1]), type=View).regions
        drawn = draw_region(await app.state.backing.look(), app.state.backing.seen, region)
    finally:
        await app.state.backing.close()
    assert 'aria-label="running: 1"' in drawn
    assert f'<div id="lifecycle">{drawn}</div>' in page
