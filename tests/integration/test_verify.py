"""`verify` on real servers: each way a key can be wrong is found as what it is, and mended."""

import asyncio
import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from status_tracker.connection.url import connect
from status_tracker.keys import Layout, partition_of
from status_tracker.maintenance.judge import Entity, Judge
from status_tracker.maintenance.keyspace import Keyspace
from status_tracker.maintenance.repair import Finding, mend
from status_tracker.maintenance.verify import Report, Verification
from status_tracker.metadata import Deployment
from status_tracker.rules import rules_json

from tests.command import COMMAND, DEADLINE, Ran, environment, invoked
from tests.damage import MENDED, NAMED, Victim, miscounted
from tests.events import NOW, update
from tests.line import RULES, deployed, meta_of, server_line
from tests.proxy import Proxy
from tests.servers import Redis, Server, wait_until

KEPT = msgspec.structs.replace(RULES, history=5)

LIVES = {
    "task": [
        ["pending", "waiting"],
        ["pending", "waiting", "running", "running"],
        ["pending", "failed"],
        ["pending", "waiting", "running", "completed"],
    ],
    "asset": [
        ["uploading", "waiting"],
        ["uploading", "waiting", "processing", "processing"],
        ["waiting", "ready"],
    ],
}
"""Each entity changes its phase, so that its history is longer than one; some heard more since."""


class Site:
    """A right deployment on a server, which can be put back as it was."""

    def __init__(self, server: Server, client: Redis, layout: Layout) -> None:
        self.deployment: Deployment = deployed(KEPT, layout=layout, partitions=4)
        self.client = client
        self.server = server
        self.url: str = server.url
        self.victims: list[Victim] = []
        asyncio.run(self._fill())
        self._dumps = {key: client.dump(key) for key in client.scan_iter()}

    async def _fill(self) -> None:
        """Have the workers' own line write all keys."""
        keys = self.deployment.keys
        self.client.hset(keys.meta, mapping=meta_of(self.deployment))
        for kind, lives in LIVES.items():
            phases = KEPT.kinds[kind].phases
            for number, life in enumerate(lives * 2):
                entity_id, phase = f"{kind[0]}-{number}", life[-1]
                home = partition_of(entity_id, 4)
                for step, each in enumerate(life):
                    data = update(entity_id, each, NOW + 10 * number + step, kind)
                    self.client.xadd(keys.events(home), {"data": data})
                others = [each for each in phases if each != phase]
                own = keys.partition(home)
                self.victims.append(Victim(self.client, own, kind, entity_id, phase, others))
        client = connect(self.url)
        for number in range(4):
            line = server_line(client, number, rules=KEPT, layout=keys.layout)
            await line.attach()
            await line.turn()
        await client.close()
        stalled = self.victims[1]
        self.client.zadd(stalled.own.stalled("task"), {stalled.id: NOW})

    def restore(self) -> None:
        """Put every key back."""
        self.client.flushdb()
        for key, dump in self._dumps.items():
            self.client.restore(key, 0, dump)

    def contents(self) -> dict[str, Any]:
        """Return what all keys hold; a count of 0 is none."""
        reads = {
            "string": self.client.get,
            "hash": self.client.hgetall,
            "list": lambda key: self.client.lrange(key, 0, -1),
            "zset": lambda key: self.client.zrange(key, 0, -1, withscores=True),
            "stream": self.client.xrange,
        }
        found = {key: reads[self.client.type(key)](key) for key in self.client.scan_iter()}
        for key in [key for key in found if ":counts:" in key and isinstance(found[key], dict)]:
            counts = {phase: count for phase, count in found.pop(key).items() if count != "0"}
            found |= {key: counts} if counts else {}
        return found

    def verify(self, *arguments: str) -> Ran:
        """Run the command."""
        return invoked("verify", "--json", "--redis-url", self.url, *arguments)

    def miscounted(self) -> Counter[str]:
        """Return how many counts are wrong."""
        keys = self.deployment.keys
        owns = [keys.partition(each) for each in range(4 if keys.layout == "cluster" else 1)]
        return miscounted(self.client, owns, dict(KEPT.kinds))


@pytest.fixture(params=["single", "cluster"])
def site(request: pytest.FixtureRequest, server: Server, redis_client: Redis) -> Site:
    """A right deployment of each layout."""
    return Site(server, redis_client, request.param)


@pytest.fixture
def one(server: Server, redis_client: Redis) -> Site:
    """One of them, where the layout makes no difference."""
    return Site(server, redis_client, "single")


def found(ran: Ran) -> Counter[str]:
    """Return how many differences of each kind there are."""
    [report] = ran.documents
    return Counter({what: tally["found"] for what, tally in report["differences"].items()})


def test_a_right_deployment_has_no_differences(site: Site) -> None:
    """Everything is looked at, and nothing is written."""
    before = site.contents()
    ran = site.verify("--repair")
    looked = dict.fromkeys(["statuses", "entries", "histories"], len(site.victims))
    whole = {"differences": {}, "left": 0, "complete": True}
    assert ran.documents == [{**looked, "marks": 1, **whole}]
    assert (ran.code, site.contents()) == (0, before)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_what_can_only_be_one_thing_is_found_and_mended(site: Site, data: st.DataObject) -> None:
    """One key or two, of different entities: exactly that is found, and then all is as before."""
    site.restore()
    before = site.contents()
    numbers = st.integers(0, len(site.victims) - 1)
    expected: Counter[str] = Counter()
    for number in data.draw(st.lists(numbers, max_size=2, unique=True)):
        way = MENDED[data.draw(st.sampled_from([*MENDED]))]
        expected.update(way(site.victims[number]))
    expected += site.miscounted()
    broken = site.contents()
    ran = site.verify()
    assert (found(ran), ran.code) == (expected, int(expected.total() > 0))
    assert site.contents() == broken

    ran = site.verify("--repair")
    assert (found(ran), ran.code) == (expected, 0)
    assert ran.documents[0]["left"] == 0
    assert site.contents() == before
    assert found(site.verify()) == {}


def test_each_way_a_key_can_be_wrong(site: Site) -> None:
    """Each is found, of a task and of an asset; what nobody can know is left as it is."""
    before = site.contents()
    for (name, way), victim in product([*MENDED.items(), *NAMED.items()], site.victims[-7::6]):
        expected = Counter(way(victim)) + site.miscounted()
        broken = site.contents()
        ran = site.verify("--repair")
        assert found(ran) == expected, name
        assert all(each["detail"] for each in examples(ran)), name
        if name in MENDED:
            assert (ran.code, site.contents()) == (0, before), name
        else:
            assert (ran.code, site.contents()) == (1, broken), name
            site.restore()


def examples(ran: Ran) -> list[dict[str, str]]:
    """Return the differences that are told one by one."""
    [report] = ran.documents
    return [each for tally in report["differences"].values() for each in tally["examples"]]


def test_a_status_that_is_gone_takes_the_rest_with_it(site: Site) -> None:
    """What is left of an entity is taken away: without a status there is none."""
    victim = site.victims[1]
    victim.client.delete(victim.own.status(victim.kind, victim.id))
    expected = ["entry_without_status", "history_without_status", "wrong_mark"]
    assert found(site.verify()) == Counter(expected)
    assert site.verify("--repair").code == 0
    left = json.dumps(site.contents())
    assert f'"{victim.id}"' not in left
    assert found(site.verify()) == {}


def test_a_phase_that_the_rules_do_not_have(site: Site) -> None:
    """The status stays as it is; but it is in no set of another phase."""
    victim = site.victims[0]
    key = victim.own.status(victim.kind, victim.id)
    victim.client.set(key, json.dumps({"phase": "stuck", "retries": 0, "updatedAt": NOW}))
    ran = site.verify("--repair")
    assert found(ran) == Counter(["unknown_phase", "entry_elsewhere"])
    assert ran.documents[0]["left"] == 1
    assert found(site.verify()) == Counter(["unknown_phase"])


def test_what_cannot_be_written_is_left(one: Site) -> None:
    """A key of another type is named, and what would be written beside it is not mended."""
    victim = one.victims[0]
    one.client.zrem(victim.set, victim.id)
    one.client.delete(victim.own.counts(victim.kind))
    one.client.set(victim.own.counts(victim.kind), "in the way")
    ran = one.verify("--repair")
    assert found(ran) == Counter(["wrong_type", "missing_entry"])
    assert (ran.code, ran.documents[0]["left"]) == (1, 2)
    one.client.delete(victim.own.counts(victim.kind))
    assert one.verify("--repair").code == 0


def test_an_entity_in_the_place_of_another_partition(redis_client: Redis, server: Server) -> None:
    """No update ever comes to it there: it is named, also where there is no such partition."""
    site = Site(server, redis_client, "cluster")
    victim = site.victims[0]
    home = partition_of(victim.id, 4)
    document = redis_client.get(victim.own.status(victim.kind, victim.id))
    keys = site.deployment.keys
    redis_client.set(keys.partition((home + 1) % 4).status(victim.kind, victim.id), document)
    redis_client.set(keys.partition(9).status(victim.kind, victim.id), document)
    redis_client.set(f"status:task:{victim.id}", "without a tag it is nobody's")
    ran = site.verify("--repair")
    assert found(ran) == Counter(misplaced=2)
    assert all(f"belongs to partition {home}" in each["detail"] for each in examples(ran))


async def test_rules_that_come_during_the_look_count(server: Server, redis_client: Redis) -> None:
    """A kind that they bring is none that nobody knows."""
    before = deployed(KEPT)
    rules = msgspec.structs.replace(KEPT, kinds={**KEPT.kinds, "export": KEPT.kinds["task"]})
    after = deployed(rules, revision=2)
    texts = {"rules:1": rules_json(KEPT), "rules:2": rules_json(rules)}
    redis_client.hset(after.keys.meta, mapping={**meta_of(after), **texts})
    own = after.keys.partition(0)
    status = {"phase": "running", "retries": 0, "updatedAt": NOW}
    redis_client.set(own.status("export", "x"), json.dumps(status))
    redis_client.zadd(own.phase("export", "running"), {"x": NOW})
    client, report = connect(server.url), Report()
    await Verification(client, before, report, repair=False).run()
    await client.close()
    assert (report.statuses, report.differences) == (1, {})


def test_what_is_not_ours_is_left_alone(site: Site) -> None:
    """Keys of others, and a deployment whose prefix begins with ours, are no differences."""
    site.client.hset("status:other:meta", "version", "2")
    site.client.set("status:other:task:x", json.dumps({"phase": "stuck", "updatedAt": NOW}))
    site.client.rpush("status:other:history:task:x", "{}")
    site.client.set("status:note:x", "somebody's own")
    site.client.rpush("status:note:y", "somebody's own")
    site.client.set("statusXtask:x", "somebody's own")
    before = site.contents()
    assert site.verify("--repair").code == 0
    assert site.contents() == before


def test_a_prefix_that_reads_like_a_pattern(server: Server, redis_client: Redis) -> None:
    """It is taken literally, or all of another deployment would be looked at, too."""
    deployment = deployed(KEPT)
    redis_client.hset("st*[a]?:meta", mapping=meta_of(deployment))
    status = json.dumps({"phase": "pending", "retries": 0, "updatedAt": NOW})
    redis_client.set("st*[a]?:task:x", status)
    redis_client.set("stxxa!:task:x", status)
    ran = invoked("verify", "--json", "--redis-url", server.url, "--prefix", "st*[a]?")
    assert (ran.documents[0]["statuses"], found(ran)) == (1, Counter(["missing_entry"]))


def test_one_that_moves_before_it_is_mended_is_judged_again(site: Site) -> None:
    """Whatever somebody writes between the look and the mend, what was judged is not written."""
    victim = site.victims[0]
    site.client.zadd(victim.other, {victim.id: NOW})
    before = site.contents()
    later = json.dumps({"phase": victim.others[0], "retries": 0, "updatedAt": NOW})

    async def look_and_mend(happens: Callable[[], object]) -> list[bool]:
        client = connect(site.url)
        entity = Entity(victim.own, victim.kind, victim.id)
        [seen] = await Keyspace(client, site.deployment).examine([entity], KEPT)
        [wrong] = Judge(site.deployment).entry(entity, seen, victim.others[0])
        happens()
        mended = await mend(client, [Finding(entity, seen, wrong)])
        await client.close()
        return mended

    key = victim.own.status(victim.kind, victim.id)
    for happens in (
        lambda: site.client.set(key, later),
        lambda: site.client.delete(key),
        lambda: site.client.zadd(victim.other, {victim.id: NOW + 1}),
        lambda: site.client.zrem(victim.other, victim.id),
        lambda: site.client.lpush(victim.own.history(victim.kind, victim.id), "{}"),
    ):
        assert asyncio.run(look_and_mend(happens)) == [False]
        site.restore()
        site.client.zadd(victim.other, {victim.id: NOW})
        assert site.contents() == before
    assert asyncio.run(look_and_mend(lambda: None)) == [True]
    assert site.client.zscore(victim.other, victim.id) is None


@pytest.mark.parametrize("command", ["scan", "zscan", "mget", "zmscore", "evalsha"])
def test_a_permission_to_read_that_is_missing(one: Site, command: str) -> None:
    """It ends in one line that names the command."""
    with limited(one.client, command):
        ran = invoked("verify", "--redis-url", one.url.replace("//", "//limited:s3cret@"))
    assert (ran.code, ran.out) == (69, "")
    assert command in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("command", ["zadd", "hset"])
def test_a_permission_to_write_that_is_missing(one: Site, command: str) -> None:
    """Without it there is nothing to look at, but nothing is mended, not even by half."""
    victim = one.victims[0]
    one.client.zrem(victim.set, victim.id)
    one.client.hincrby(victim.own.counts(victim.kind), victim.phase, -1)
    before = one.contents()
    with limited(one.client, command):
        url = one.url.replace("//", "//limited:s3cret@")
        assert invoked("verify", "--redis-url", url).code == 1
        ran = invoked("verify", "--repair", "--redis-url", url)
    assert ran.code == 69
    assert f"the user needs permission for {command}" in ran.err
    assert one.contents() == before


def test_large_statuses_are_read_a_few_at_once(one: Site) -> None:
    """A reply stays short, whatever producers write: the server and the memory are theirs, too."""
    for number in range(200):
        status = {"phase": "failed", "errorMessage": 20_000 * "x", "updatedAt": NOW}
        one.client.set(f"status:task:large-{number}", json.dumps(status))
    one.client.config_resetstat()
    assert found(one.verify()) == Counter(missing_entry=200)
    assert one.client.info("commandstats")["cmdstat_mget"]["calls"] > 200 * 20_000 / 1_000_000


def test_people_read_a_table(one: Site) -> None:
    """What a terminal would obey is escaped; some examples of each, and the sum."""
    victim = one.victims[0]
    for number in range(5):
        one.client.zadd(victim.set, {f"gone-\x1b{number}": NOW})
    ran = invoked("verify", "--redis-url", one.url)
    head, _, first, *others, looked, said = ran.out.splitlines()
    assert head.split() == ["difference", "found", "example"]
    assert first.split()[:3] == ["wrong_count", "1", "task"]
    assert others[0].split()[:3] == ["entry_without_status", "5", "task"]
    assert (len(others), ran.out.count("gone-\\x1b")) == (3, 3)
    assert looked.startswith(f"looked at {len(one.victims)} statuses, ")
    assert (said, ran.code) == ("differences: 6 found", 1)
    said = invoked("verify", "--repair", "--redis-url", one.url).out.splitlines()[-1]
    assert said == "differences: 6 found, 6 mended, 0 left"
    ran = invoked("verify", "--redis-url", one.url)
    assert ran.lines[-1] == "no differences"


def test_ctrl_c_ends_it_with_what_was_found(one: Site, tmp_path: Path) -> None:
    """It says that not everything was looked at, and ends as of the signal."""
    with Proxy(one.server) as proxy:
        proxy.freeze()
        process = subprocess.Popen(
            [*COMMAND, "verify", "--json", "--redis-url", proxy.url],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: proxy._connections)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert json.loads(out)["complete"] is False
    assert err == "status-tracker: stopped before everything was looked at\n"
    assert process.returncode == 130


@contextmanager
def limited(client: Redis, command: str) -> Iterator[None]:
    """Have a user who may do everything but one command."""
    words = ("reset", "on", ">s3cret", "~*", "+@all", f"-{command}")
    client.execute_command("ACL", "SETUSER", "limited", *words)
    try:
        yield
    finally:
        client.acl_deluser("limited")
