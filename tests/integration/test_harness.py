"""What stands in for the world does what the tests that use it take for granted."""

import select
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
import redis

from tests import conftest
from tests.clusters import MASTERS, ServerCluster
from tests.proxy import Proxy
from tests.sentinels import Sentinels
from tests.servers import Redis, Server, binaries


@pytest.fixture(scope="module", params=binaries().items(), ids=lambda item: item[0])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerCluster]:
    """A cluster that the tests here share, and leave whole."""
    name, binary = request.param
    with ServerCluster(binary, tmp_path_factory.mktemp(f"{name}-cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module", params=binaries().items(), ids=lambda item: item[0])
def sentinels(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sentinels]:
    """A master, a replica and three sentinels."""
    name, binary = request.param
    with Sentinels(binary, tmp_path_factory.mktemp(f"{name}-sentinels")) as sentinels:
        yield sentinels


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy before the shared server."""
    with Proxy(server) as proxy:
        yield proxy


def through(proxy: Proxy) -> Redis:
    """Return a client that never sends a command again on its own."""
    return redis.Redis.from_url(proxy.url, retry=None, protocol=2, decode_responses=True)


def has_moved(direct: Redis, key: str) -> bool:
    """Tell whether a node sends its clients elsewhere for a key."""
    try:
        direct.get(key)
    except redis.ResponseError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_processes_hear_of_signals_that_the_tests_ignore(number: signal.Signals) -> None:
    """Under `nohup`, a worker that is sent SIGHUP by a test would go on."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        conftest.pytest_configure()
        signal.raise_signal(number)
        started = subprocess.run(["sh", "-c", f"kill -{number:d} $$"], check=False)
    finally:
        signal.signal(number, before)
    assert started.returncode == -number


def test_a_cluster_forms(cluster: ServerCluster) -> None:
    """Keys are on all masters, each of which has a replica."""
    masters = cluster.masters()
    assert len(masters) == MASTERS
    assert {cluster.replica_of(master) for master in masters} == {*cluster.nodes} - {*masters}
    with cluster.client() as client:
        for number in range(30):
            client.set(f"key-{number}", "x" * number)
        assert [len(client.get(f"key-{number}")) for number in range(30)] == [*range(30)]
    assert {cluster.master_of(f"key-{number}") for number in range(30)} == {*masters}


def test_a_slot_moves_under_its_clients(cluster: ServerCluster) -> None:
    """ASK while it moves, MOVED afterwards, and a client that follows them misses nothing."""
    keys = [f"{{moving}}:{number}" for number in range(10)]
    with cluster.client() as client:
        for key in keys:
            client.set(key, key)
        move = cluster.begin_move("{moving}")
        assert move.move_keys(4) == 4
        with move.source.client() as direct:
            left = [key for key in keys if not has_moved(direct, key)]
            assert len(left) == 6
            assert [client.get(key) for key in keys] == keys
            move.end()
            with pytest.raises(redis.ResponseError, match=rf"\d+ {move.target.address}"):
                direct.get(left[0])
        assert cluster.master_of("{moving}") is move.target
        assert [client.get(key) for key in keys] == keys
    assert cluster.move_slot("{moving}", move.source) is move.source


def test_a_replica_takes_over(cluster: ServerCluster) -> None:
    """A master that was killed comes back as the replica of its replica, and nothing is lost."""
    old = cluster.master_of("key")
    replica = cluster.replica_of(old)
    with old.client() as client:
        client.set("key", "value")
        assert client.wait(1, 5_000) == 1
    cluster.kill(old)
    assert cluster.await_failover("key", old) is replica
    with cluster.client() as client:
        assert client.get("key") == "value"
    old.start()
    cluster.await_whole()
    assert cluster.replica_of(replica) is old


def test_sentinels_name_another_master(sentinels: Sentinels) -> None:
    """The replica is promoted when the master was killed, which comes back as a replica."""
    old = sentinels.master()
    assert old is sentinels.servers[0]
    with sentinels.client() as client:
        client.set("key", "value")
        assert client.wait(1, 5_000) == 1
    sentinels.kill(old)
    assert sentinels.await_failover(old) is sentinels.servers[1]
    with sentinels.client() as client:
        assert client.get("key") == "value"
    old.start()
    sentinels.await_whole()
    assert sentinels.master() is sentinels.servers[1]
    with old.client() as client:
        assert client.role()[0] == "slave"


def test_a_reply_is_swallowed(proxy: Proxy, redis_client: Redis) -> None:
    """The command has happened, once; what comes before and after it is answered."""
    with through(proxy) as client:
        assert client.incr("number") == 1
        proxy.swallow_reply_to(b"INCR")
        assert client.get("number") == "1"
        with pytest.raises(redis.ConnectionError):
            client.incr("number")
        assert proxy.swallowed == 1
        assert redis_client.get("number") == "2"
        assert client.incr("number") == 3
    assert proxy.swallowed == 1


def test_a_reply_to_a_large_command_is_swallowed(proxy: Proxy, redis_client: Redis) -> None:
    """Commands come in many chunks, and what is looked for may be anywhere, even in two."""
    with through(proxy) as client:
        proxy.swallow_reply_to(b"needle")
        with pytest.raises(redis.ConnectionError):
            client.set("hay", "x" * 3_000_000 + "needle")
        assert redis_client.strlen("hay") == 3_000_006
    address = ("127.0.0.1", proxy.server_address[1])
    proxy.swallow_reply_to(b"needle")
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"SET hay a-needle\r\n":
            connection.sendall(bytes([byte]))
        assert connection.recv(100) == b""
    assert redis_client.get("hay") == "a-needle"
    assert proxy.swallowed == 2


def test_an_error_is_not_swallowed(proxy: Proxy, redis_client: Redis) -> None:
    """What did not happen has no reply to lose; the next such command has."""
    with through(proxy) as client:
        client.set("text", "x")
        proxy.swallow_reply_to(b"INCR")
        with pytest.raises(redis.ResponseError, match="not an integer"):
            client.incr("text")
        with pytest.raises(redis.ConnectionError):
            client.incr("number")
    assert proxy.swallowed == 1
    assert redis_client.get("number") == "1"


def test_a_frozen_proxy_passes_nothing_on(proxy: Proxy, redis_client: Redis) -> None:
    """Nothing arrives, nobody is told, and all goes on when it thaws; a cut ends connections."""
    address = ("127.0.0.1", proxy.server_address[1])
    proxy.freeze()
    with socket.create_connection(address) as connection:
        connection.sendall(b"INCR number\r\n")
        assert select.select([connection], [], [], 0.2) == ([], [], [])
        assert redis_client.get("number") is None
        proxy.thaw()
        assert connection.recv(100) == b":1\r\n"
        proxy.cut()
        assert connection.recv(100) == b""
