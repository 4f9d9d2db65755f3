"""Which worker should own which partition. Pure: no I/O."""

from collections.abc import Collection, Mapping

from msgspec import Struct


class Assignment(Struct, frozen=True):
    """What one worker does to have its share, no more and no less."""

    give: list[int]
    take: list[int]
    share: int
    """How many partitions are its share."""


def assign(
    name: str, workers: Collection[str], owners: Mapping[int, str | None], partitions: int
) -> Assignment:
    """Return what the worker of that name, one of `workers`, should give up and take.

    `owners` has the owner of each partition, None for a free one; one that is not known is left
    alone. Shares differ by one at the most. The larger ones go to those who have that much already,
    so that no more moves than must; and while they give up the rest they stay the same ones.
    Everyone who sees the same comes to the same result: only who does not wants what others want.
    """
    held: dict[str, list[int]] = {worker: [] for worker in workers}
    for number, owner in sorted(owners.items()):
        if owner in held:
            held[owner].append(number)
    free = [number for number, owner in sorted(owners.items()) if owner is None]
    share, larger = divmod(partitions, len(workers))
    ranked = sorted(held, key=lambda worker: (len(held[worker]) <= share, worker))
    shares = {worker: share + (place < larger) for place, worker in enumerate(ranked)}
    lacking = {worker: max(shares[worker] - len(held[worker]), 0) for worker in shares}
    before = sum(lacking[worker] for worker in shares if worker < name)
    return Assignment(
        give=held[name][shares[name] :],
        take=free[before : before + lacking[name]],
        share=shares[name],
    )
