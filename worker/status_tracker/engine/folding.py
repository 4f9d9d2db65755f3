"""Driving a fold, which asks for the statuses that it does not know."""

from collections.abc import Awaitable, Callable, Mapping

from status_tracker.engine.batch import Folding, Wanted
from status_tracker.engine.statuses import Statuses

Load = Callable[[Wanted], Awaitable[Mapping[str, Statuses]]]


async def folded(folding: Folding, load: Load) -> None:
    """Drive a fold to its end."""
    wanted = next(folding, None)
    while wanted is not None:
        loaded = await load(wanted)
        try:
            wanted = folding.send(loaded)
        except StopIteration:
            return
