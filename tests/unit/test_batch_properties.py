"""What must hold of batches for any stream, wherever it is cut."""

from itertools import cycle

from hypothesis import given
from hypothesis import strategies as st
from status_tracker.engine.batch import Batch

from tests.model import Model, canonical
from tests.unit.folding import text
from tests.unit.loop import Keyspace, Loop, entry
from tests.unit.streams import Event, streams, trials

PARTITIONS = 2


def cut(stream: list[Event], sizes: list[int]) -> list[list[Event]]:
    """Cut a stream into batches of these sizes, over and over."""
    batches: list[list[Event]] = []
    rest = stream
    for size in cycle(sizes):
        if not rest:
            return batches
        batches.append(rest[:size])
        rest = rest[size:]
    return batches


def compare(keyspace: Keyspace, model: Model) -> None:
    """Compare all that is written with what the contract wants written."""
    assert keyspace.documents() == {key: text(doc) for key, doc in model.statuses.items()}
    assert keyspace.index() == model.phases
    assert list(map(canonical, keyspace.feed())) == list(map(canonical, model.changes))
    assert keyspace.rejected == [(each.reason, each.id, each.data) for each in model.rejected]
    assert keyspace.forwards == [tuple(each) for each in model.forwards]
    assert keyspace.duplicates == model.duplicates


@given(
    streams(PARTITIONS),
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.sampled_from([0, 1, 2, 1000]),
    st.sampled_from([1, 3, 1000]),
)
@trials(200)
def test_batches_may_be_cut_anywhere(
    stream: list[Event], sizes: list[int], live_statuses: int, forget_every: int
) -> None:
    """However a stream is cut, whatever is kept or forgotten between: what is written is the same.

    It is what the contract wants, so it is the same as in one batch.
    """
    loop = Loop(partitions=PARTITIONS, live_statuses=live_statuses)
    model = Model(PARTITIONS)
    for number, events in enumerate(cut(stream, sizes), start=1):
        batch = loop.run(*(entry(each.data, each.id) for each in events))
        assert (batch.cursor, batch.entries) == (events[-1].id, len(events))
        if number % forget_every == 0:
            loop.restart()
    for each in stream:
        model.apply(0, *each)
    compare(loop.keyspace, model)


@given(streams(PARTITIONS))
@trials(60)
def test_every_entry_has_one_outcome(stream: list[Event]) -> None:
    """Each entry is applied, or a duplicate, or forwarded, or rejected: none is lost or doubled."""
    loop = Loop(partitions=PARTITIONS)
    for each in stream:
        batch = loop.run(entry(each.data, each.id))
        applied = sum(len(effects.after) for effects in batch.effects.values())
        forwarded = sum(map(len, batch.forwards.values()))
        assert applied + batch.duplicates + forwarded + len(batch.rejected) == 1
        assert applied >= len(batch.changes)


@given(
    streams(PARTITIONS),
    st.lists(st.tuples(st.integers(1, 8), st.booleans()), min_size=1, max_size=6),
    st.sampled_from([0, 1, 1000]),
)
@trials(200)
def test_a_batch_is_folded_while_the_one_before_is_on_its_way(
    stream: list[Event], reads: list[tuple[int, bool]], live_statuses: int
) -> None:
    """A batch of several reads, folded before the last one is committed, writes the same.

    Each read has a size, and closes the batch or leaves it in hand.
    """
    loop = Loop(partitions=PARTITIONS, live_statuses=live_statuses)
    model = Model(PARTITIONS)
    for each in stream:
        model.apply(0, *each)
    ids = [each.id for each in stream]
    on_its_way: Batch | None = None
    place = 0
    for size, closes in cycle(reads):
        events = stream[place : place + size]
        place += size
        if events:
            loop.fold(*(entry(each.data, each.id) for each in events))
        if closes or not events:
            if on_its_way is not None and not loop.land(on_its_way):
                place = ids.index(on_its_way.read_from) + 1 if on_its_way.read_from in ids else 0
                on_its_way = None
                continue
            on_its_way = loop.pipeline.close() if loop.pipeline.in_hand.entries else None
        if not events and on_its_way is None:
            break
    compare(loop.keyspace, model)
