"""What probes answer where no server is needed to see it: a loop that is stuck, a lag."""

import asyncio
import threading

import pytest
from status_tracker.app import Worker
from status_tracker.monitoring import probes
from status_tracker.monitoring.endpoint import serving
from status_tracker.monitoring.fleet import PartitionState
from status_tracker.monitoring.watcher import Watcher
from status_tracker.settings import load_settings

from tests.scrape import asked
from tests.servers import free_port, wait_until


async def test_a_loop_that_is_stuck_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port answers from another thread: who restarts a worker that hangs is told to."""
    monkeypatch.setattr(probes, "STUCK_AFTER", 1.0)
    watcher = Watcher(Worker(load_settings(environment={})), every=1, lease_ttl=1, max_lag=1)
    port, found = free_port(), threading.Event()

    def watch() -> None:
        wait_until(lambda: (said := asked(port, "/livez")) and said.status == 503)
        found.set()

    with serving(watcher, host="127.0.0.1", port=port):
        watching = asyncio.create_task(watcher.beat())
        alive = await asyncio.to_thread(asked, port, "/livez")
        assert alive is not None
        assert alive.status == 200
        asker = threading.Thread(target=watch)
        asker.start()
        assert found.wait(20)  # this is what holds up the loop
        asker.join()
        recovered = await asyncio.to_thread(
            wait_until, lambda: (said := asked(port, "/livez")) and said.status == 200
        )
        assert recovered
        watching.cancel()


@pytest.mark.parametrize(("max_lag", "is_ready"), [(60, False), (61, True), (0, True)])
def test_a_worker_that_lags_is_not_ready(max_lag: float, is_ready: bool) -> None:
    """From `ready_max_lag` on, which of its partitions it is, and by how much; 0 is no limit."""
    partitions = [PartitionState(0, "a", "1-1", 0, 0, 9), PartitionState(1, "a", "1-1", 5, 60.5, 9)]
    reasons = list(probes.behind(partitions, max_lag))
    says = ["partition 1 lags by 60.5 s, over ready_max_lag (60 s)"]
    assert reasons == ([] if is_ready else says)
