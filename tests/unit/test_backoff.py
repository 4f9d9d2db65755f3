"""What the log hears of an outage: its begin and its end, once."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as NotReachedError
from redis.exceptions import ResponseError
from status_tracker.engine.backoff import Backoff


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged since the last time, without how long it took."""
    found = [record.getMessage().partition(" after ")[0] for record in caplog.records]
    caplog.clear()
    return found


def test_one_speaks_for_all(caplog: pytest.LogCaptureFixture) -> None:
    """Many partitions meet the same trouble; its end is that of the last one."""
    backoff = Backoff("server")
    backoff.failed("one", NotReachedError("gone"))
    backoff.failed("two", NotReachedError("gone away"))
    backoff.failed("one", NotReachedError("gone"))
    assert messages(caplog) == ["server: gone; trying again until it works"]
    backoff.succeeded("one")
    backoff.succeeded("one")
    assert messages(caplog) == []
    backoff.succeeded("two")
    assert messages(caplog) == ["server: works again"]


def test_another_trouble_is_said_too(caplog: pytest.LogCaptureFixture) -> None:
    """Out of reach and full are two things, even if one follows the other."""
    backoff = Backoff("server")
    backoff.failed("one", NotReachedError("gone"))
    backoff.failed("one", ResponseError("full"))
    assert len(messages(caplog)) == 2
    backoff.succeeded("one")
    assert messages(caplog) == ["server: works again"]


def test_who_was_given_up_found_nothing_mended(caplog: pytest.LogCaptureFixture) -> None:
    """A partition that moved to another worker in an outage says nothing of its end."""
    backoff = Backoff("server")
    backoff.failed("one", NotReachedError("gone"))
    messages(caplog)
    backoff.forget("one")
    assert messages(caplog) == []
    backoff.failed("two", NotReachedError("gone"))
    assert messages(caplog) == ["server: gone; trying again until it works"]


async def test_a_stop_ends_the_waiting(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a wait that has begun nor one that begins later holds a stop up."""
    backoff, stop = Backoff("server"), asyncio.Event()
    async with asyncio.timeout(10):
        waiting = asyncio.create_task(backoff.wait("one", NotReachedError("gone"), stop))
        await asyncio.sleep(0)
        stop.set()
        await waiting
        await backoff.wait("two", ResponseError("full"), stop)
    assert len(messages(caplog)) == 1


async def test_an_outage_may_last(caplog: pytest.LogCaptureFixture) -> None:
    """An hour is some thousand failures: the delay must not grow out of all numbers."""
    backoff, stop = Backoff("server"), asyncio.Event()
    for _ in range(5_000):
        backoff.failed("one", NotReachedError("gone"))
    async with asyncio.timeout(10):
        waiting = asyncio.create_task(backoff.wait("one", NotReachedError("gone"), stop))
        await asyncio.sleep(0)
        assert not waiting.done()
        stop.set()
        await waiting
    assert len(messages(caplog)) == 1
