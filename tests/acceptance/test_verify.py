"""`status-tracker verify` beside a worker under load: it reports nothing, and harms nothing."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import pytest
from status_tracker.keys import Keys, Layout, partition_of

from tests.acceptance.producers import produce
from tests.acceptance.test_kinds import OWN_PATHS, assert_own_kinds_as_modelled, rules_file
from tests.acceptance.tracker import drained, tracker
from tests.command import Ran, invoked
from tests.damage import MENDED, Victim
from tests.line import RULES
from tests.servers import Redis, Server, wait_until

LOAD = 3_000
"""Updates that come while it is looked, several times over."""


@pytest.mark.parametrize("layout", ["single", "cluster"])
def test_beside_a_worker_under_load(
    server: Server, redis_client: Redis, tmp_path: Path, layout: Layout
) -> None:
    """What moves meanwhile is no difference; what is broken is mended; all ends as modelled."""
    keys = Keys("status", layout)
    options = ["--layout", layout, "--rules", rules_file(tmp_path), "--redis-url", server.url]

    feeds = sorted({keys.partition(number).changes for number in range(4)})

    def changes() -> int:
        return sum(redis_client.xlen(feed) for feed in feeds)

    def looks(seed: int, *arguments: str) -> Iterator[Ran]:
        """Look again and again while updates come and are applied."""
        moved = 0
        with ThreadPoolExecutor() as pool:
            producing = pool.submit(produce, redis_client, keys, seed, LOAD, paths=OWN_PATHS)
            while not (producing.done() and drained(redis_client, keys)):
                before = changes()
                yield invoked("verify", "--json", "--redis-url", server.url, *arguments)
                moved = max(moved, changes() - before)
            producing.result()
        assert moved > 100, "nothing moved meanwhile: this proves nothing"

    with tracker(tmp_path, *options):
        wait_until(lambda: drained(redis_client, keys))
        for seed, arguments in enumerate([(), ("--repair",)]):
            for ran in looks(seed, *arguments):
                assert ran.documents[0]["differences"] == {}
        damage(redis_client, keys)
        found: Counter[str] = Counter()
        for ran in looks(2, "--repair"):
            [report] = ran.documents
            assert report["left"] == 0
            found.update({what: each["found"] for what, each in report["differences"].items()})
        assert invoked("verify", "--redis-url", server.url).code == 0
    # Counts a commit mends by itself, and wrong marks an owner when it takes a partition over.
    assert set(found) >= {"missing_entry", "entry_elsewhere", "entry_without_status", "wrong_score"}
    assert "history_without_status" in found
    assert_own_kinds_as_modelled(redis_client, keys)


def damage(client: Redis, keys: Keys) -> None:
    """Break each thing that can be mended, each at an entity that is not heard of any more."""
    ways = cycle(way for name, way in MENDED.items() if "count" not in name)
    for kind in ("task", "asset"):
        for number in range(LOAD // 8 // len(OWN_PATHS)):
            entity_id = f"0-{number}é"
            own = keys.partition(partition_of(entity_id, 4))
            document = client.get(own.status(kind, entity_id))
            if document is not None and number % 3 == 0:
                phase = json.loads(document)["phase"]
                others = [each for each in RULES.kinds[kind].phases if each != phase]
                next(ways)(Victim(client, own, kind, entity_id, phase, others))
