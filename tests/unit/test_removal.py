"""Entries that take entities away, as they are written: each is what a worker accepts."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_tracker import UpdateError
from status_tracker.decode import invalid_id
from status_tracker.keys import partition_of
from status_tracker.removal import AT_ONCE, decode_removal, removals_of

IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=256).filter(
    lambda each: invalid_id(each) is None
)


@given(st.lists(IDS, unique=True), st.integers(1_600, 4_000), st.integers(1, 4))
def test_each_id_stands_in_one_entry(ids: list[str], most: int, partitions: int) -> None:
    """In its partition's, in order, none over the rules' size; a worker reads what was meant."""
    found: dict[int, list[str]] = defaultdict(list)
    for each in removals_of("task", ids, partitions=partitions, max_event_bytes=most):
        decoded = decode_removal(
            each.data, number=each.partition, partitions=partitions, max_event_bytes=most
        )
        assert isinstance(decoded, list)
        assert [(one.kind, one.id) for one in decoded] == [("task", one) for one in each.ids]
        found[each.partition] += each.ids
    for number in range(partitions):
        own = [each for each in ids if partition_of(each, partitions) == number]
        assert found[number] == own


def test_entries_are_as_large_as_they_may_be() -> None:
    """By number, and to the byte: one of the exact size is accepted by workers."""
    ids = [f"t-{number:04}" for number in range(2 * AT_ONCE + 1)]
    entries = list(removals_of("task", ids, partitions=1, max_event_bytes=65_536))
    assert [len(each.ids) for each in entries] == [AT_ONCE, AT_ONCE, 1]
    exact = len(entries[0].data)
    for most, first in ((exact, AT_ONCE), (exact - 1, AT_ONCE - 1)):
        limited = next(removals_of("task", ids, partitions=1, max_event_bytes=most))
        assert (len(limited.ids), len(limited.data) <= most) == (first, True)
    with pytest.raises(UpdateError, match="id: t-0000; its entry is over max_event_bytes"):
        list(removals_of("task", ids, partitions=1, max_event_bytes=len(entries[2].data) - 1))
    exact = len(entries[2].data)
    assert len(list(removals_of("task", ids[:1], partitions=1, max_event_bytes=exact))) == 1
