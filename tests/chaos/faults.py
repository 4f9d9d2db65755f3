"""What is done to a system: each fault lasts as long as its context, and is healed at its end.

Those of a server strike everyone whom it serves, in turn where there are several; those of a worker
strike the one with that number.
"""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol

import redis
from status_tracker.keys import GROUP

from tests.chaos.sites import PARTITIONS, Masters
from tests.chaos.system import FindingError, System
from tests.servers import Redis, Server, wait_until

ServerFault = Callable[[System], AbstractContextManager[None]]


class WorkerFault(Protocol):
    """Strikes the worker of a number."""

    __name__: str

    def __call__(self, system: System, number: int) -> AbstractContextManager[None]:
        """Strike."""


SPIN = "for _ = 1, 1e10 do end"
"""A script that takes minutes, but not for ever: nobody is left to kill it when the runner dies."""

LOAD = "redis.call('SELECT', 1) for _ = 1, 50000 do redis.call('INCR', 'load') end"
"""A script that makes the append-only file longer, and nothing in the system's database."""


@contextmanager
def worker_killed(system: System, number: int) -> Iterator[None]:
    """Kill -9; a new worker comes in its place."""
    system.workers[number].expect_running()
    system.workers[number].kill()
    yield
    system.replace(number)


@contextmanager
def worker_frozen(system: System, number: int) -> Iterator[None]:
    """SIGSTOP, then SIGCONT: when it goes on, it does not know how long it was away."""
    system.workers[number].expect_running()
    system.workers[number].freeze()
    yield
    system.workers[number].thaw()


@contextmanager
def worker_held_up(system: System, number: int) -> Iterator[None]:
    """A commit comes late, when others have committed; nor does anything else get through."""
    system.workers[number].expect_running()
    way = system.site.ways[number]
    way.freeze_at_commit()
    wait_until(lambda: way.frozen)
    yield
    way.thaw()


@contextmanager
def worker_stopped(system: System, number: int) -> Iterator[None]:
    """SIGTERM, as a release does it; a new worker comes in its place."""
    worker = system.workers[number]
    worker.expect_running()
    # A process that has not come so far as to say something may not have come to its handlers.
    wait_until(lambda: worker.log)
    code = worker.stop()
    if code:
        raise FindingError(
            f"{worker.name} was stopped and ended with {code}:\n{worker.log[-2000:]}"
        )
    yield
    system.replace(number)


@contextmanager
def connections_killed(system: System) -> Iterator[None]:
    """CLIENT KILL of everyone."""
    for server in system.site.servers:
        with server.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
    yield


@contextmanager
def connections_cut(system: System) -> Iterator[None]:
    """The way between the workers and the server breaks; the server goes on with what it got."""
    for way in system.site.ways:
        way.cut()
    yield


@contextmanager
def reply_swallowed(system: System) -> Iterator[None]:
    """A connection is lost between a commit and its reply: at least once, the next one there is."""
    with _swallowed(system, system.site.commit):
        yield


@contextmanager
def forwarding_swallowed(system: System) -> Iterator[None]:
    """The same between forwards and their reply, before the commit that they belong to."""
    stream = system.keys.events(system.in_turn())
    # What comes after the receiver's stream is where the script notes how far it is.
    with _swallowed(system, f"\r\n{stream}\r\n$4\r\nfrom\r\n".encode()):
        yield


@contextmanager
def server_killed(system: System) -> Iterator[None]:
    """Kill -9; it comes back with its append-only file."""
    victim = system.victim()
    victim.stop(signal.SIGKILL)
    yield
    victim.start()
    system.site.await_whole()


@contextmanager
def server_loading(system: System) -> Iterator[None]:
    """Kill -9; it comes back, but is -LOADING for about a second."""
    victim = system.victim()
    with victim.client() as client:
        client.eval(LOAD, 0)
    victim.stop(signal.SIGKILL)
    options = victim.options
    # At one command in five a nap of the shortest kind, which takes some 60 us.
    victim.options = (*options, "--key-load-delay", "-5")
    victim.start()
    victim.options = options
    yield


@contextmanager
def master_replaced(system: System) -> Iterator[None]:
    """CLUSTER FAILOVER: its replica takes over when it has all that the master had."""
    assert isinstance(system.site, Masters)
    system.site.await_whole()
    system.site.cluster.fail_over(system.site.server_of(system.in_turn()))
    yield


@contextmanager
def slot_moved(system: System) -> Iterator[None]:
    """A partition goes to another master, key by key."""
    assert isinstance(system.site, Masters)
    system.site.await_whole()
    system.site.cluster.move_slot(system.keys.events(system.in_turn()))
    yield


@contextmanager
def server_full(system: System) -> Iterator[None]:
    """-OOM: its memory is at `maxmemory`, and nothing may be evicted."""
    with _configured(system.victim(), "maxmemory", 1):
        yield


@contextmanager
def server_without_replicas(system: System) -> Iterator[None]:
    """-NOREPLICAS: it takes no writes that it cannot pass on."""
    with _configured(system.victim(), "min-replicas-to-write", 9):
        yield


@contextmanager
def server_read_only(system: System) -> Iterator[None]:
    """-READONLY: it is the replica of a master that is not there."""
    with system.victim().client() as client, socket.socket() as dead:
        # Bound, so that no server can come to listen there, whose data it would take for its own.
        dead.bind(("127.0.0.1", 0))
        client.replicaof(*dead.getsockname())
        yield
        client.replicaof("NO", "ONE")


@contextmanager
def server_busy(system: System) -> Iterator[None]:
    """-BUSY: somebody else's script does not end, until it is killed."""
    victim = system.victim()
    with (
        _configured(victim, "busy-reply-threshold", 10),
        victim.client() as client,
        victim.client() as spinning,
    ):
        connection = spinning.connection_pool.get_connection()
        connection.send_command("EVAL", SPIN, 0)
        wait_until(lambda: _is_busy(client))
        yield
        client.script_kill()
        with suppress(redis.ResponseError):  # that it was killed
            connection.read_response()


@contextmanager
def scripts_flushed(system: System) -> Iterator[None]:
    """SCRIPT FLUSH: the servers know none of the workers' scripts any more."""
    for server in system.site.servers:
        with server.client() as client:
            client.script_flush()
    yield


@contextmanager
def groups_destroyed(system: System) -> Iterator[None]:
    """XGROUP DESTROY on every stream: the cursors, which are in the hashes, are still there."""
    with system.client() as client:
        for number in range(PARTITIONS):
            client.xgroup_destroy(system.keys.events(number), GROUP)
    yield


@contextmanager
def database_flushed(system: System) -> Iterator[None]:
    """FLUSHDB under the workers."""
    with system.client() as client:
        client.flushdb()
    yield


@contextmanager
def _swallowed(system: System, command: bytes) -> Iterator[None]:
    before = system.swallowed
    for way in system.site.ways:
        way.swallow_reply_to(command)
    yield
    wait_until(lambda: system.swallowed > before)
    for way in system.site.ways:
        way.swallow_reply_to(b"")


@contextmanager
def _configured(server: Server, option: str, value: int) -> Iterator[None]:
    with server.client() as client:
        [before] = client.config_get(option).values()
        client.config_set(option, value)
    yield
    with server.client() as client:
        client.config_set(option, before)


def name(fault: Callable[..., object]) -> str:
    """Return what a fault is called."""
    return fault.__name__.replace("_", " ")


def _is_busy(client: Redis) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False
