"""The key names are the contract with everyone who reads them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot
from status_tracker.keys import GROUP, KeyName, Keys, Layout, PartitionKeys, partition_of

from tests.model import Model

KINDS: list[str] = ["task", "asset"]


@pytest.mark.parametrize("layout", ["single", "cluster"])
def test_keys_of_both_layouts(layout: str) -> None:
    """What producers write to, and what a worker needs to know the layout, is always the same."""
    keys = Keys("status", "cluster" if layout == "cluster" else "single")
    assert keys.meta == "status:meta"
    assert keys.events(2) == "status:events:{2}"
    assert keys.partition(2).events == "status:events:{2}"
    assert keys.partition(2).partition == "status:partition:{2}"
    assert GROUP == "tracker"


def test_keys_of_the_single_layout() -> None:
    """On one server, dashboards read one key of each name, whatever the partition."""
    for number in (0, 3):
        keys = Keys("status", "single").partition(number)
        assert keys.changes == "status:changes"
        assert keys.rejected == "status:rejected"
        assert keys.counts("task") == "status:counts:task"
        assert keys.history("task", "a") == "status:history:task:a"
        assert keys.stalled("task") == "status:stalled:task"
        assert keys.phase("task", "running") == "status:phase:task:running"
        assert keys.phase("asset", "ready") == "status:phase:asset:ready"
        assert keys.status("task", "09F8B46C") == "status:task:09F8B46C"
        assert keys.status("asset", "é/✓") == "status:asset:é/✓"


def test_keys_of_the_cluster_layout() -> None:
    """In a cluster, every key that a commit touches carries its partition's tag."""
    keys = Keys("status", "cluster").partition(3)
    assert keys.changes == "status:changes:{3}"
    assert keys.rejected == "status:rejected:{3}"
    assert keys.counts("task") == "status:counts:{3}:task"
    assert keys.history("task", "a") == "status:history:{3}:task:a"
    assert keys.stalled("task") == "status:stalled:{3}:task"
    assert keys.phase("task", "running") == "status:phase:{3}:task:running"
    assert keys.phase("asset", "ready") == "status:phase:{3}:asset:ready"
    assert keys.status("task", "09F8B46C") == "status:task:{3}:09F8B46C"
    assert keys.status("asset", "é/✓") == "status:asset:{3}:é/✓"


def test_the_prefix_stands_first() -> None:
    """Deployments with other prefixes share a server without sharing a key."""
    keys = Keys("video:prod", "single")
    assert keys.meta == "video:prod:meta"
    assert keys.events(0) == "video:prod:events:{0}"
    assert keys.partition(0).partition == "video:prod:partition:{0}"
    assert keys.partition(0).status("task", "a") == "video:prod:task:a"


ids = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], exclude_characters="{}"),
    min_size=1,
    max_size=256,
)
prefixes = st.sampled_from(["status", "video:prod", "é", "[x]"])


def names_of(keys: PartitionKeys) -> list[str]:
    """Return the keys that are of no entity."""
    names = [keys.events, keys.partition, keys.changes, keys.rejected]
    for kind in KINDS:
        names += [keys.counts(kind), keys.phase(kind, "waiting")]
    return names


@given(prefixes, st.integers(0, 1023), ids)
def test_a_commit_stays_in_one_slot(prefix: str, number: int, entity_id: str) -> None:
    """In the `cluster` layout, all that one partition's script touches is in the tag's slot."""
    keys = Keys(prefix, "cluster").partition(number)
    names = names_of(keys)
    for kind in KINDS:
        names += [keys.status(kind, entity_id), keys.history(kind, entity_id)]
    assert len(names) == len(set(names))
    assert {key_slot(name.encode()) for name in names} == {key_slot(b"%d" % number)}


@given(ids, st.integers(1, 1024))
def test_every_id_has_a_partition(entity_id: str, partitions: int) -> None:
    """The partition is the contract's function of the id, and one that exists."""
    assert partition_of(entity_id, partitions) == Model(partitions).home(entity_id)
    assert 0 <= partition_of(entity_id, partitions) < partitions


@pytest.mark.parametrize("layout", ["single", "cluster"])
@given(first=st.tuples(st.sampled_from(KINDS), ids), second=st.tuples(st.sampled_from(KINDS), ids))
def test_no_two_entities_share_a_key(
    layout: str, first: tuple[str, str], second: tuple[str, str]
) -> None:
    """Nor does an entity's key collide with another of the deployment, whatever its id."""
    keys = Keys("status", "cluster" if layout == "cluster" else "single").partition(0)
    assert (keys.status(*first) == keys.status(*second)) == (first == second)
    assert keys.status(*first) not in names_of(keys)


@pytest.mark.parametrize("layout", ["single", "cluster"])
@settings(max_examples=25)
@given(entity_id=st.text(), number=st.integers(0, 9_999))
def test_a_name_says_whose_it_is(layout: Layout, entity_id: str, number: int) -> None:
    """What is named here is read here, whatever the id."""
    keys = Keys("st*.tus", layout)
    own = keys.partition(number)
    tag = own.tagged
    assert tag == (number if layout == "cluster" else None)
    number = tag or 0
    said = KeyName("status", number, "task", entity_id)
    assert keys.named(own.status("task", entity_id)) == said
    said = KeyName("history", number, "task", entity_id)
    assert keys.named(own.history("task", entity_id)) == said
    assert keys.named(own.phase("task", "running")) == KeyName("phase", number, "task", "running")
    others = [own.events, own.partition, own.changes, own.rejected, own.counts("task")]
    others += [own.stalled("task"), keys.meta, keys.workers, keys.lease(number)]
    others += ["st*.tus:later-parts:x", "status:task:x", "xst*.tus:task:x"]
    assert [keys.named(each) for each in others] == [None] * len(others)
