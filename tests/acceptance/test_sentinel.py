"""Workers behind Sentinels: they follow the master."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from status_tracker.keys import Keys

from tests.acceptance.producers import produce
from tests.acceptance.tracker import assert_as_modelled, drained, tracker
from tests.sentinels import Sentinels
from tests.servers import binaries, wait_until

SINGLE = Keys("status", "single")


@pytest.fixture(params=binaries().items(), ids=lambda item: item[0])
def sentinels(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sentinels]:
    """A master with a replica, and three Sentinels."""
    with Sentinels(request.param[1], tmp_path / "sentinels") as sentinels:
        yield sentinels


def test_a_new_master_is_followed(sentinels: Sentinels, tmp_path: Path) -> None:
    """Two workers and a backlog, the master is killed and comes back as a replica: all agrees."""
    options = ["--redis-url", sentinels.url]
    with (
        tracker(tmp_path / "one", *options) as one,
        tracker(tmp_path / "two", *options) as two,
    ):
        old = sentinels.master()
        with old.client() as client:
            produce(client, SINGLE, seed=1, count=10_000)
            wait_until(lambda: client.xlen("status:changes"))
        sentinels.kill(old)
        new = sentinels.await_failover(old)
        old.start()
        with new.client() as client:
            produce(client, SINGLE, seed=2, count=2_000)
            wait_until(lambda: drained(client, SINGLE), within=40)
            assert_as_modelled(client, SINGLE)
        assert [one.stop(), two.stop()] == [0, 0]
    for each in (one, two):
        assert "Traceback" not in each.log


def test_sentinels_that_know_no_such_service(sentinels: Sentinels, tmp_path: Path) -> None:
    """It is waited for, and named: it may be configured in a moment; a stop works meanwhile."""
    url = sentinels.url.replace("mymaster", "another")
    with tracker(tmp_path, "--redis-url", url) as waiting:
        waiting.says("No master found for 'another'; trying again")
        assert waiting.stop() == 0


def test_sentinels_that_do_not_answer(tmp_path: Path) -> None:
    """They are waited for; one line says so, without what redis-py knows of its clients."""
    url = "redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster/0"
    with tracker(tmp_path, "--redis-url", url) as waiting:
        waiting.says("No master found for 'mymaster'; not every Sentinel answers; trying again")
        assert waiting.stop() == 0
