"""Who gives up and takes what: even shares, and nothing moves without need."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from status_tracker.engine.assignment import assign
from status_tracker.engine.fleet import unique_name

NAMES = [f"worker-{number}" for number in range(8)]

fleets = st.sets(st.sampled_from(NAMES), min_size=1)
owners = st.dictionaries(
    st.integers(0, 19), st.one_of(st.none(), st.sampled_from([*NAMES, "a stranger"])), max_size=20
)


def carried_out(name: str, workers: set[str], held: dict[int, str | None]) -> int:
    """Let one worker do what is planned for it; return how many partitions changed hands."""
    todo = assign(name, workers, held, len(held))
    for number in todo.give:
        held[number] = None
    for number in todo.take:
        held[number] = name
    return len(todo.give) + len(todo.take)


def settle(workers: set[str], held: dict[int, str | None], chance: Random) -> int:
    """Let the workers have two turns, in any order; return how much changed hands.

    The first is for those who give up, the second for those who take; a third finds nothing to do.
    """
    moved = []
    for _ in range(3):
        turns = sorted(workers)
        chance.shuffle(turns)
        moved.append(sum(carried_out(name, workers, held) for name in turns))
    assert moved[-1] == 0, f"still moving: {held}"
    return sum(moved)


def shares(workers: set[str], held: dict[int, str | None]) -> list[int]:
    """Return how many partitions each worker has, the largest first."""
    return sorted((list(held.values()).count(name) for name in workers), reverse=True)


def even(workers: int, partitions: int) -> list[int]:
    """Return the even shares, the largest first."""
    share, larger = divmod(partitions, workers)
    return [share + 1] * larger + [share] * (workers - larger)


@given(fleets, owners)
def test_all_who_see_the_same_want_different_things(
    workers: set[str], seen: dict[int, str | None]
) -> None:
    """No partition is wanted by two, none is taken that somebody has, and all shares add up."""
    plans = {name: assign(name, workers, seen, 20) for name in workers}
    wanted = Counter(number for each in plans.values() for number in each.take)
    assert all(count == 1 for count in wanted.values())
    assert all(seen[number] is None for number in wanted)
    for name, each in plans.items():
        assert all(seen[number] == name for number in each.give)
        assert not (each.give and each.take)
    assert sorted((each.share for each in plans.values()), reverse=True) == even(len(workers), 20)


def test_more_workers_than_partitions() -> None:
    """The rest have a share of nothing: they stand by."""
    held: dict[int, str | None] = dict.fromkeys(range(2))
    workers = set(NAMES[:5])
    settle(workers, held, Random(1))
    assert shares(workers, held) == [1, 1, 0, 0, 0]


def test_an_unknown_partition_is_left_alone() -> None:
    """What a part of a cluster that is down has is neither free nor anybody's."""
    todo = assign("worker-0", {"worker-0", "worker-1"}, {0: "worker-0", 3: None}, 4)
    assert (todo.give, todo.take, todo.share) == ([], [3], 2)


def test_every_worker_has_a_name_of_its_own() -> None:
    """Two of one process, as tests have them, are two."""
    assert unique_name() != unique_name()


class Fleet(RuleBasedStateMachine):
    """Workers come and go in any order."""

    @initialize(partitions=st.integers(1, 20))
    def create(self, partitions: int) -> None:
        """Begin with one worker that has everything."""
        self.held: dict[int, str | None] = dict.fromkeys(range(partitions), NAMES[0])
        self.workers = {NAMES[0]}

    @rule(name=st.sampled_from(NAMES), chance=st.randoms())
    def join(self, name: str, chance: Random) -> None:
        """Move what the one who joins is to have, and nothing else."""
        if name in self.workers:
            return
        self.workers.add(name)
        moved = settle(self.workers, self.held, chance)
        assert moved == 2 * list(self.held.values()).count(name)  # each is given and taken

    @rule(name=st.sampled_from(NAMES), chance=st.randoms())
    def leave(self, name: str, chance: Random) -> None:
        """Move what the one who leaves had, and nothing else."""
        if name not in self.workers or len(self.workers) == 1:
            return
        self.workers.remove(name)
        left = [number for number, owner in self.held.items() if owner == name]
        for number in left:
            self.held[number] = None
        assert settle(self.workers, self.held, chance) == len(left)

    @invariant()
    def is_even(self) -> None:
        """Every partition has an owner, and nobody has more than one more than another."""
        if hasattr(self, "held"):
            assert None not in self.held.values()
            assert shares(self.workers, self.held) == even(len(self.workers), len(self.held))


TestFleet = Fleet.TestCase
