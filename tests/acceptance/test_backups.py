"""The drill of `docs/operating/backups.md`: a server is lost, and comes back from a snapshot."""

import shutil
import signal
from pathlib import Path

import pytest
from status_tracker import FeedGapError, StatusReader
from status_tracker.keys import Keys
from status_tracker.settings import default_file

from tests.acceptance.producers import produce
from tests.acceptance.tracker import assert_as_modelled, drained, tracker
from tests.command import invoked
from tests.events import add, update
from tests.model import KINDS
from tests.servers import Redis, Server, wait_until

KEYS = Keys("status", "single")
LATER = "came-after-the-backup"


def back_up(client: Redis, server: Server, to: Path) -> None:
    """Have a snapshot written, and copy it."""
    client.bgsave()

    def is_written() -> bool:
        info = client.info("persistence")
        return not info["rdb_bgsave_in_progress"] and info["rdb_last_bgsave_status"] == "ok"

    wait_until(is_written)
    shutil.copy(server.folder / "dump.rdb", to)


def lose(server: Server) -> None:
    """Take a server away, with all its files."""
    server.stop(signal.SIGKILL)
    shutil.rmtree(server.folder)
    server.folder.mkdir()


def restore(server: Server, backup: Path) -> None:
    """Start it from a backup; then it keeps an append-only file again."""
    shutil.copy(backup, server.folder / "dump.rdb")
    with_file, server.options = server.options, ("--appendonly", "no")
    server.start()
    server.options = with_file
    with server.client() as client:
        client.config_set("appendonly", "yes")
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])


def apply_rules(server: Server, file: Path) -> None:
    """Put the rules in force once more, with another limit, which no entry comes near."""
    text = default_file("rules.toml").read_text()
    file.write_text(text.replace('max_event_bytes = "64KiB"', 'max_event_bytes = "63KiB"'))
    assert invoked("rules", "apply", str(file), "--yes", "--redis-url", server.url).code == 0


def revisions(client: Redis) -> list[str]:
    """Return by which revision of the rules each partition goes, and which is in force."""
    names = [KEYS.meta, *(KEYS.partition(number).partition for number in range(4))]
    return [client.hget(name, "revision") for name in names]


def test_the_drill(own_server: Server, tmp_path: Path) -> None:
    """What came before is there, once, also what was unread; what came after is gone."""
    backup = tmp_path / "backup.rdb"
    with own_server.client() as client, tracker(tmp_path, "--redis-url", own_server.url) as worker:
        produce(client, KEYS, seed=1, count=1_000)
        wait_until(lambda: drained(client, KEYS))
        worker.pause()
        produce(client, KEYS, seed=2, count=1_000)  # unread when the snapshot is taken
        back_up(client, own_server, backup)
        worker.go_on()
        apply_rules(own_server, tmp_path / "rules.toml")
        wait_until(lambda: set(revisions(client)) == {"2"})
        add(client, update(LATER, "pending"), keys=KEYS)
        wait_until(lambda: drained(client, KEYS))
        kept = client.xlen("status:changes")
        with StatusReader(own_server.url) as reader:
            token = reader.snapshot("task").token
            lose(own_server)
            restore(own_server, backup)
            wait_until(lambda: drained(client, KEYS) and set(revisions(client)) == {"2"})
            model = assert_as_modelled(client, KEYS, later={2: KINDS})
            assert model.applied > 1_000
            assert client.xlen("status:changes") == kept - 1
            assert reader.task(LATER) is None
            with pytest.raises(FeedGapError):
                next(reader.changes(after=token))
        add(client, update(LATER, "pending"), keys=KEYS)
        produce(client, KEYS, seed=3, count=1_000)
        wait_until(lambda: drained(client, KEYS))
        assert_as_modelled(client, KEYS, later={2: KINDS})
        assert client.exists(KEYS.partition(0).status("task", LATER))
        assert not worker.has_ended
        # A restart as the service does it: the append-only file has all of it.
        own_server.stop()
        own_server.start()
        wait_until(lambda: drained(client, KEYS))
        assert_as_modelled(client, KEYS, later={2: KINDS})


def test_a_snapshot_alone_is_not_read(own_server: Server, tmp_path: Path) -> None:
    """The trap of which the page warns: with `appendonly yes` the server begins empty."""
    with own_server.client() as client:
        client.set("status:task:a", "{}")
        back_up(client, own_server, tmp_path / "backup.rdb")
    lose(own_server)
    shutil.copy(tmp_path / "backup.rdb", own_server.folder / "dump.rdb")
    own_server.start()
    with own_server.client() as client:
        assert client.dbsize() == 0
