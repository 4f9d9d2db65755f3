"""The `cluster` layout on a server that is a cluster: one that holds every slot."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from status_tracker.connection.url import connect
from status_tracker.keys import Layout

from tests.events import id_in, update
from tests.line import server_line
from tests.servers import Server, binaries, free_port, wait_until


@pytest.fixture(params=binaries().items(), ids=lambda item: item[0])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A cluster of one, which refuses a command whose keys are in several slots."""
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with Server(request.param[1], tmp_path / "server", *options) as server:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: client.cluster("INFO")["cluster_state"] == "ok")
        yield server


async def commit_one_of_each(server: Server, layout: Layout) -> None:
    """Commit an application, a rejection and a forward."""
    client = connect(server.url)
    try:
        line = server_line(client, layout=layout)
        await line.attach()
        for data in (update(id_in(0), "pending"), b"bad", update(id_in(2), "pending")):
            await client.execute("XADD", line.own.events, "*", "data", data)
        await line.turn()
    finally:
        await client.close()


async def test_a_commit_stays_in_one_slot(cluster: Server) -> None:
    """A partition lives whole in one slot, so that its commit stays atomic on a cluster."""
    await commit_one_of_each(cluster, "cluster")
    with cluster.client() as client:
        assert client.hget("status:partition:{0}", "entries") == "3"
        assert client.xlen("status:rejected:{0}") == 1
        assert client.xlen("status:events:{2}") == 1


async def test_the_other_layout_would_not_do(cluster: Server) -> None:
    """The server does refuse keys of several slots: the test above proves something."""
    with pytest.raises(redis.ResponseError, match="slot"):
        await commit_one_of_each(cluster, "single")
