"""One partition's line, driven step by step: a test does what the loop does by itself."""

from status_tracker.decode import find_all
from status_tracker.engine.batch import Batch, BatchBuilder
from status_tracker.engine.folding import folded
from status_tracker.engine.partition import PartitionKeyspace
from status_tracker.engine.reader import Read, pieces
from status_tracker.keys import PartitionKeys
from status_tracker.lua.attach import Attached
from status_tracker.lua.commit import StatusChangedError


class Line:
    """A partition's keys, and the folding of its entries."""

    def __init__(self, store: PartitionKeyspace, own: PartitionKeys, builder: BatchBuilder) -> None:
        self.store = store
        self.own = own
        self.builder = builder

    @property
    def cursor(self) -> str:
        """The ID of the last entry that was folded."""
        return self.builder.batch.cursor

    async def attach(self) -> tuple[str, ...]:
        """Take the cursor from the keys; return what was created."""
        attached = await self.look()
        self.builder.restart(attached.cursor, self.builder.deployment)
        return attached.created

    async def look(self, *, thorough: bool = True) -> Attached:
        """See where the keys stand, and recreate what is missing."""
        return await self.store.attach(self.builder.deployment, thorough=thorough)

    async def fold(self, count: int = 100_000) -> Batch:
        """Read what is there and fold it, without committing.

        It ends before an entry that takes entities away, and after one that it began with.
        """
        entries = await self.store.read(self.cursor, count=count, block=None)
        if entries:
            for piece in pieces(Read(entries, *find_all(entries), more=False)):
                if piece.removing is None:
                    folding = self.builder.fold(piece.entries, piece.values)
                    await folded(folding, self.store.load)
                    continue
                if not self.builder.batch.entries:
                    folding = self.builder.remove(piece.entries[0], piece.removing)
                    await folded(folding, self.store.load)
                break
        return self.builder.close()

    async def turn(self, count: int = 100_000) -> Batch:
        """Read, fold and commit; once more where an entity was created that has a status."""
        batch = await self.fold(count)
        if not batch.entries:
            return batch
        try:
            await self.store.commit(batch)
        except StatusChangedError as error:
            if error.was_known:
                raise
            self.builder.suspend_optimistic_creates()
            await self.attach()
            batch = await self.fold(count)
            await self.store.commit(batch)
        self.builder.committed(batch)
        return batch
