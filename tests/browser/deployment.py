"""A deployment with everything in it: a server, a worker, and the dashboard, as processes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from status_tracker import Emitter, StatusReader
from status_tracker.keys import Keys
from status_tracker.settings import default_file

from tests.acceptance.tracker import tracker
from tests.fuzz import dashboard
from tests.servers import Server, wait_until

KEYS = Keys("status", "single")

BEGINS = {"task": ["pending", "waiting", "running"], "asset": ["uploading", "waiting"]}
"""The way to where most happens to an entity."""


class Site(NamedTuple):
    """Where it is, and what producers have of it."""

    url: str
    """Of the pages; it ends with a slash."""
    server: Server
    emitter: Emitter
    reader: StatusReader

    def send(self, entity_id: str, *phases: str, kind: str = "task", **fields: Any) -> None:
        """Send updates, the last one with fields, and wait until it is applied."""
        for phase in phases[:-1]:
            self.emitter.emit(kind, entity_id, phase)
        self.emitter.emit(kind, entity_id, phases[-1], **fields)
        self.wait(entity_id, phases[-1], kind=kind)

    def begin(self, *ids: str, kind: str = "task", **fields: Any) -> None:
        """Send entities to where most happens."""
        for each in ids:
            self.send(each, *BEGINS[kind], kind=kind, **fields)

    def wait(self, entity_id: str, phase: str, *, kind: str = "task") -> None:
        """Wait until an entity is in a phase."""

        def is_there() -> bool:
            status = self.reader.get(kind, entity_id)
            return status is not None and status.phase == phase

        wait_until(is_there)


@contextmanager
def serving(folder: Path, redis_url: str, *options: str) -> Iterator[str]:
    """Run the dashboard; yield where its pages are."""
    with dashboard(folder, redis_url, *options) as (_, api):
        yield api.removesuffix("api/v1")


@contextmanager
def deployment(folder: Path, server: Server, *options: str) -> Iterator[Site]:
    """Run a worker, and the dashboard with these options."""
    rules = folder / "rules.toml"
    shipped = default_file("rules.toml").read_text()
    rules.write_text(shipped.replace("history = 0", "history = 20"))
    with (
        tracker(folder, "--redis-url", server.url, "--rules", str(rules)) as worker,
        Emitter(server.url) as emitter,
        StatusReader(server.url) as reader,
    ):
        worker.reads(0, 1, 2, 3)
        with serving(folder, server.url, *options) as url:
            yield Site(url, server, emitter, reader)


def reject(site: Site, data: bytes, number: int = 0) -> None:
    """Have a worker read what is no update."""
    with site.server.client() as client:
        client.xadd(KEYS.events(number), {"data": data})


def update(**fields: object) -> bytes:
    """Return an update as a careless producer writes it."""
    return json.dumps(fields).encode()
