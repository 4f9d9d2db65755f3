"""Entities on their way, in a file without a name: they may be more than memory holds."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

from status_tracker.errors import OutputError
from status_tracker.maintenance.snapshot import Entity, entity_of, line_of

IN_MEMORY = 32 * 1024
"""KiB of it that are kept in memory."""

# Lines lie in the order in which they come. By the key (WITHOUT ROWID) each would be written into
# another page, which takes six times as long.
_SCHEMA = f"""
PRAGMA journal_mode = off;
PRAGMA synchronous = off;
PRAGMA cache_size = -{IN_MEMORY};
CREATE TABLE entities (
    partition INTEGER, kind TEXT, id TEXT, line BLOB, PRIMARY KEY (partition, kind, id)
);
"""


class Spooled(NamedTuple):
    """An entity, as the line that a snapshot has of it."""

    partition: int
    kind: str
    id: str
    line: bytes


def spooled(partition: int, entity: Entity) -> Spooled:
    """Return what is kept of an entity."""
    return Spooled(partition, entity.kind, entity.id, line_of(entity))


class Spool:
    """The entities of a deployment. Each is there once: what is put in later replaces it."""

    def __init__(self) -> None:
        # Without a name, it is a file that the system deletes, however we end.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(_SCHEMA)

    def put(self, entities: Iterable[Spooled]) -> None:
        """Put entities in; raises `OutputError` where there is no place for them."""
        with _full(), self._at_once():
            self._database.executemany("REPLACE INTO entities VALUES (?, ?, ?, ?)", entities)

    def drop(self, partition: int, kind: str, ids: Iterable[str]) -> None:
        """Forget entities, if they are there."""
        rows = [(partition, kind, entity_id) for entity_id in ids]
        with _full(), self._at_once():
            self._database.executemany(
                "DELETE FROM entities WHERE partition = ? AND kind = ? AND id = ?", rows
            )

    def get(self, partition: int, kind: str, entity_id: str) -> Entity | None:
        """Return an entity; None where it is not there."""
        row = self._database.execute(
            "SELECT line FROM entities WHERE partition = ? AND kind = ? AND id = ?",
            (partition, kind, entity_id),
        ).fetchone()
        return None if row is None else entity_of(row[0])

    def count(self, partition: int) -> int:
        """Return how many entities a partition has."""
        [number] = self._database.execute(
            "SELECT count(*) FROM entities WHERE partition = ?", (partition,)
        ).fetchone()
        return int(number)

    def of(self, partition: int) -> Iterator[Spooled]:
        """Yield the entities of a partition, by their kinds and ids."""
        rows = self._database.execute(
            "SELECT * FROM entities WHERE partition = ? ORDER BY kind, id", (partition,)
        )
        return map(Spooled._make, rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Delete all of it."""
        self._database.close()

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        self._database.execute("BEGIN")
        yield
        self._database.execute("COMMIT")


@contextmanager
def _full() -> Iterator[None]:
    """Say where the file would be, if there is no place for it."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(
            f"what was read cannot be kept in the folder for temporary files: {error}; name "
            "another one in SQLITE_TMPDIR"
        ) from None
