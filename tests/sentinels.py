"""A master with a replica on loopback, and three sentinels that watch over them."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from tests.security import SECURED, password_of
from tests.servers import Redis, Running, Server, wait_until

NAME = "mymaster"

# Two of three agree that the master is lost when it has not answered for so many milliseconds.
WATCH = """\
sentinel monitor {name} 127.0.0.1 {port} 2
sentinel down-after-milliseconds {name} 1000
sentinel failover-timeout {name} 3000
"""
LOGIN = """\
sentinel auth-user {name} sentinel
sentinel auth-pass {name} {password}
"""
# Milliseconds. By default the first ping of a new master comes when it counts as lost already, and
# it takes 20 seconds to turn a master that came back into a replica.
PERIODS = ["PING-PERIOD", 200, "INFO-PERIOD", 500, "PUBLISH-PERIOD", 500]


class Configured(Server):
    """A server with a configuration file: what becomes of its role is written there."""

    def __init__(
        self, binary: Path, folder: Path, text: str, *options: str, secured: bool = SECURED
    ) -> None:
        # Sentinels tell of one port only: by TLS, all between servers would have to be TLS, too.
        super().__init__(binary, folder, *options, secured=secured, tls=False)
        self.config = folder / "server.conf"
        folder.mkdir(parents=True)
        self.config.write_text(text)

    def arguments(self) -> list[str]:
        """Return what its binary is started with."""
        return [str(self.config), *super().arguments()]


class Sentinel(Configured):
    """One of those who watch and vote."""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        super().start()
        with self.client() as client:
            client.execute_command("SENTINEL DEBUG", *PERIODS)


class Sentinels(Running):
    """Two servers, the first of which is the master at first, and three sentinels."""

    def __init__(self, binary: Path, folder: Path, *options: str) -> None:
        options = ("--repl-diskless-sync-delay", "0", "--appendonly", "yes", *options)
        master = Configured(binary, folder / "server-0", "", *options)
        follow = f"replicaof 127.0.0.1 {master.port}"
        self.servers = [master, Configured(binary, folder / "server-1", follow, *options)]
        watch = WATCH.format(name=NAME, port=master.port)
        if master.secured:
            watch += LOGIN.format(name=NAME, password=password_of("sentinel"))
        self.sentinels = [
            Sentinel(binary, folder / f"sentinel-{number}", watch, "--sentinel", secured=False)
            for number in range(3)
        ]
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = master.for_operator(f"redis+sentinel://{addresses}/{NAME}/0")

    def start(self) -> None:
        """Start all, and wait until the sentinels know both servers and each other."""
        master, replica = self.servers
        master.start()
        replica.start()
        with replica.client() as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")
        for sentinel in self.sentinels:
            sentinel.start()
        self.await_whole()

    def stop(self) -> None:
        """End all, at once: a master that is asked to stop may wait for its replica."""
        for server in (*self.sentinels, *self.servers):
            server.stop(signal.SIGKILL)

    def client(self) -> Redis:
        """Return a client of the server that is the master now."""
        return self.master().client()

    def master(self) -> Server:
        """Return the master, as soon as all sentinels that answer name the same one."""
        return wait_until(self._agreed_master)

    def kill(self, server: Server) -> None:
        """End a server as nothing can prevent; it may be started again."""
        server.stop(signal.SIGKILL)

    def await_failover(self, old: Server, *, within: float = 30.0) -> Server:
        """Wait until another server is the master, for itself and for all sentinels; return it."""

        def new_master() -> Server | None:
            master = self._agreed_master()
            if master is None or master is old:
                return None
            with master.client() as client:
                return master if client.info("replication")["role"] == "master" else None

        return wait_until(new_master, within=within)

    def await_whole(self, *, within: float = 30.0) -> None:
        """Wait until all sentinels know each other, and a replica that could be master."""

        def is_whole() -> bool:
            seen = self._ask("SENTINEL MASTER")
            replicas = [each for replicas in self._ask("SENTINEL SLAVES") for each in replicas]
            return (
                len(seen) == len(replicas) == len(self.sentinels)
                and all(master["num-other-sentinels"] == 2 for master in seen)
                and all(each["flags"] == "slave" for each in replicas)
                and all(each["master-link-status"] == "ok" for each in replicas)
            )

        wait_until(is_whole, within=within)

    def _ask(self, command: str) -> list[Any]:
        """Return what the sentinels that answer say about the master."""
        answers = []
        for sentinel in self.sentinels:
            with suppress(redis.ConnectionError, redis.TimeoutError), sentinel.client() as client:
                answers.append(client.execute_command(command, NAME))
        return answers

    def _agreed_master(self) -> Server | None:
        """Return the master if all sentinels that answer name the same one."""
        ports = {int(port) for _, port in self._ask("SENTINEL GET-MASTER-ADDR-BY-NAME")}
        return next((server for server in self.servers if ports == {server.port}), None)
