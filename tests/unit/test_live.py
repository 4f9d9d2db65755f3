"""What is remembered of open pages, without a server."""

import asyncio
from typing import Any

import pytest
from status_tracker.dashboard.live.page import OpenPage
from status_tracker.dashboard.live.rows import MOST_READ, Rows, Shown
from status_tracker.dashboard.live.view import MOST_ROWS, Row, View
from status_tracker.dashboard.streaming import SSE, Say, Stream


def test_rows_take_turns() -> None:
    """However many there are; those of a kind that there is not keep no others waiting."""
    rows = Rows()
    for kind in ("no", "task"):
        for page in range(2 * MOST_READ // MOST_ROWS):
            ids = [f"t-{page}-{number}" for number in range(MOST_ROWS)]
            rows.add(OpenPage(View(rows=[Row(kind, each) for each in ids])))
    first = rows.unknown({"task"})
    assert {each.kind for each in first} == {"task"}
    assert len(first) == len(set(first)) == MOST_READ
    rows.shown |= {each: Shown(None, None) for each in first}
    assert not set(first) & set(rows.unknown({"task"}))


async def test_a_stream_that_meets_a_bug() -> None:
    """It ends, and whoever logs what fails hears of it."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def write(say: Say) -> None:
        await say(b"first")
        raise ZeroDivisionError

    stream = Stream(SSE, write, asyncio.Event())
    with pytest.raises(ZeroDivisionError):
        await stream({"type": "http", "method": "GET"}, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert [each.get("body") for each in sent] == [None, b"first", b""]
