"""Deployments that are broken, each in one way; and what `status-tracker doctor` says of each."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from status_tracker.errors import EXIT_NO, EXIT_WARN
from status_tracker.keys import GROUP, Keys
from status_tracker.rules import rules_json
from status_tracker.settings import default_file

from tests.command import Ran, invoked
from tests.events import update
from tests.line import RULES, deployed
from tests.publishing import Publisher
from tests.servers import Redis, Server

EXIT_CODES = {"ok": 0, "warn": EXIT_WARN, "fail": EXIT_NO}
SECRET = "s3cret"  # noqa: S105
HOUR = 3_600_000

LEASE_TTL = "1h"
"""Leases outlive a test on a busy machine."""

_prefixes = (f"doctor-{number}" for number in itertools.count())


class Site:
    """A deployment as a worker leaves it that has just started."""

    def __init__(self, server: Server, client: Redis, folder: Path) -> None:
        self.server = server
        self.client = client
        self.folder = folder
        self.keys = Keys(next(_prefixes), "single")
        self.deployment = msgspec.structs.replace(deployed(partitions=4), keys=self.keys)
        self.now = int(client.time()[0]) * 1000
        self.arguments: list[str] = []
        """What doctor is given besides."""
        self.publisher = Publisher(client, self.deployment)
        client.zadd(self.keys.workers, {"one": self.now})
        for number in range(4):
            own = self.keys.partition(number)
            client.hset(own.partition, mapping={"cursor": "0-0", "entries": 0, "revision": 1})
            client.xgroup_create(own.events, GROUP, "0-0", mkstream=True, entries_read=0)
            client.set(self.keys.lease(number), "one", px=HOUR - 1)

    def events(self, number: int = 0) -> str:
        """Return the key of a partition's stream."""
        return self.keys.events(number)

    def hash(self, number: int = 0) -> str:
        """Return the key of a partition's hash."""
        return self.keys.partition(number).partition

    def reject(self, entity_id: str, reason: str, phase: str) -> None:
        """Have an update rejected that was said right now."""
        entry = {"reason": reason, "detail": f"{entity_id} is wrong", "stream": self.events()}
        data = update(entity_id, phase, self.now)
        own = self.keys.partition(0)
        self.client.xadd(own.rejected, {**entry, "data": data, "id": f"{self.now}-0"})

    def configure(self, text: str) -> None:
        """Give doctor a file of settings."""
        file = self.folder / "worker.toml"
        file.write_text(text)
        self.arguments += ["--config", str(file)]

    def look(self, *arguments: str, url: str | None = None) -> "Look":
        """Run doctor."""
        own = ["--redis-url", url or self.server.url, "--prefix", self.keys.prefix]
        return Look(
            invoked(
                "doctor", "--json", *own, *self.arguments, *arguments, STATUS_LEASE_TTL=LEASE_TTL
            )
        )


class Look:
    """What doctor said."""

    def __init__(self, ran: Ran) -> None:
        [document] = ran.documents
        self.findings: list[dict[str, str]] = document["findings"]
        assert ran.code == EXIT_CODES[document["worst"]]
        assert SECRET not in ran.out + ran.err
        levels = {each["level"] for each in self.findings}
        assert document["worst"] == max(levels, key=list(EXIT_CODES).index)
        assert all(each["mend"] for each in self.findings if each["level"] != "ok")

    @property
    def ill(self) -> dict[str, str]:
        """What is not ok: family and check → level."""
        return {
            f"{each['family']}: {each['check']}": each["level"]
            for each in self.findings
            if each["level"] != "ok"
        }

    def found(self, name: str) -> str:
        """Return what is said of a check, with what to do."""
        return "; ".join(
            f"{each['found']} -> {each['mend']}"
            for each in self.findings
            if f"{each['family']}: {each['check']}" == name and each["level"] != "ok"
        )


class Broken(NamedTuple):
    """A way in which a deployment can be broken."""

    name: str
    break_it: Callable[[Site], None]
    ill: dict[str, str]
    """Family and check → level, of all that is not ok."""
    says: str
    """What is said of the first of them."""


BROKEN: list[Broken] = []


def broken(name: str, ill: dict[str, str], says: str) -> Callable[[Callable[[Site], None]], None]:
    """Take up what breaks a deployment."""

    def add(break_it: Callable[[Site], None]) -> None:
        BROKEN.append(Broken(name, break_it, ill, says))

    return add


@broken("no meta", {"deployment: meta": "fail"}, "no deployment with prefix")
def _(site: Site) -> None:
    site.client.delete(site.keys.meta)


@broken("meta of another release", {"deployment: meta": "fail"}, "version: configured is 2")
def _(site: Site) -> None:
    site.client.hset(site.keys.meta, "version", "9")


@broken("rules lost", {"deployment: meta": "fail"}, "rules:1")
def _(site: Site) -> None:
    site.client.hdel(site.keys.meta, "rules:1")


@broken("meta of another type", {"deployment: meta": "fail"}, "is not the hash of a deployment")
def _(site: Site) -> None:
    site.client.delete(site.keys.meta)
    site.client.set(site.keys.meta, "mine")


@broken(
    "no owner",
    {"deployment: owners": "fail"},
    "partition 1 has no owner; partition 2 has no owner -> start a worker",
)
def _(site: Site) -> None:
    site.client.delete(site.keys.lease(1), site.keys.lease(2))


@broken("owner dead", {"deployment: leases": "fail"}, "by ghost, which is no live worker")
def _(site: Site) -> None:
    site.client.set(site.keys.lease(3), "ghost", px=HOUR - 1)


@broken("lease for ever", {"deployment: leases": "fail"}, "stays with one for ever")
def _(site: Site) -> None:
    site.client.set(site.keys.lease(3), "one")


@broken("lease of other settings", {"deployment: leases": "warn"}, "longer than lease_ttl (3600 s)")
def _(site: Site) -> None:
    site.client.set(site.keys.lease(3), "one", px=2 * HOUR)


@broken(
    "cursor that is none",
    {"deployment: cursors": "fail", "deployment: groups": "fail"},
    "partition 0 holds the cursor tomorrow",
)
def _(site: Site) -> None:
    site.client.hset(site.hash(), "cursor", "tomorrow")


@broken("no group", {"deployment: groups": "fail"}, "has no group tracker")
def _(site: Site) -> None:
    site.client.xgroup_destroy(site.events(), GROUP)


@broken("group elsewhere", {"deployment: groups": "fail"}, "stands at 5-5, the cursor at 0-0")
def _(site: Site) -> None:
    site.client.execute_command("XGROUP", "SETID", site.events(), GROUP, "5-5", "ENTRIESREAD", 0)


@broken("group of somebody", {"deployment: groups": "fail"}, "a group tracker that no worker made")
def _(site: Site) -> None:
    site.client.xgroup_destroy(site.events(), GROUP)
    site.client.execute_command("XGROUP", "CREATE", site.events(), GROUP, "5-5")


@broken("group that is read", {"deployment: groups": "warn"}, "by XREADGROUP as tracker")
def _(site: Site) -> None:
    site.client.xreadgroup(GROUP, "somebody", {site.events(): ">"})


@broken("last id ahead", {"deployment: last IDs": "warn"}, "ahead of the server's clock")
def _(site: Site) -> None:
    site.client.xadd(site.events(1), {"data": "{}"}, id=f"{site.now + HOUR // 2}-0")


@broken("last id far ahead", {"deployment: last IDs": "fail"}, "48 h ahead of the server's clock")
def _(site: Site) -> None:
    site.client.xadd(site.events(1), {"data": "{}"}, id=f"{site.now + 48 * HOUR}-0")


@broken("last id there is", {"deployment: last IDs": "fail"}, "is the last that there can be")
def _(site: Site) -> None:
    site.client.xadd(site.events(1), {"data": "{}"}, id=f"{2**64 - 1}-{2**64 - 1}")


@broken("backlog", {"deployment: lag": "warn"}, "partition 2 lags by 3,6")
def _(site: Site) -> None:
    site.client.xadd(site.events(2), {"data": "{}"}, id=f"{site.now - HOUR}-0")


@broken("entries lost", {"deployment: lost": "warn"}, "partition 2 has lost 7 entries")
def _(site: Site) -> None:
    site.client.hset(site.hash(2), "lost", 7)


@broken("partition by older rules", {"deployment: rules": "warn"}, "partition 2 goes by revision 1")
def _(site: Site) -> None:
    again = {"revision": "2", "rules:2": rules_json(RULES)}
    site.client.hset(site.keys.meta, mapping=again)
    for number in (0, 1, 3):
        site.client.hset(site.hash(number), "revision", 2)


@broken("stalled", {"deployment: stalled": "warn"}, "1 asset; asset film-9, say")
def _(site: Site) -> None:
    site.client.zadd(site.keys.partition(0).stalled("asset"), {"film-9": site.now})


@broken(
    "stream without braces",
    {"producers: keys": "fail"},
    ":events:0 (1 entry: no braces around the number)",
)
def _(site: Site) -> None:
    site.client.xadd(f"{site.keys.prefix}:events:0", {"data": "{}"})


@broken(
    "stream of a partition too many",
    {"producers: keys": "fail"},
    ":events:{4} (1 entry: there are 4 partitions, from 0)",
)
def _(site: Site) -> None:
    site.client.xadd(site.events(4), {"data": "{}"})


@broken("key of another layout", {"producers: keys": "warn"}, ":task:{3}:export-9")
def _(site: Site) -> None:
    site.client.set(f"{site.keys.prefix}:task:{{3}}:export-9", "{}")


@broken("foreign key", {"producers: keys": "warn"}, "none of ours: doctor")
def _(site: Site) -> None:
    site.client.set(f"{site.keys.prefix}:cache:\x1b[2J", "?")


@broken(
    "rejected", {"producers: rejected": "warn"}, "in the last day 1 illegal_transition; the last"
)
def _(site: Site) -> None:
    site.publisher.change("settled", "completed")
    site.reject("settled", "illegal_transition", "running")


@broken("rejected were dropped", {"producers: dropped": "warn"}, "12 rejected entries were dropped")
def _(site: Site) -> None:
    site.client.hset(site.hash(), "rejected_dropped", 12)


@broken(
    "entity that waits",
    {"producers: waiting": "warn", "producers: rejected": "warn"},
    "1 entity waits for an update that was rejected: task export-9 is waiting (illegal_transition",
)
def _(site: Site) -> None:
    site.publisher.change("export-9", "waiting")
    site.reject("export-9", "illegal_transition", "completed")


@broken(
    "entity that never began",
    {"producers: waiting": "warn", "producers: rejected": "warn"},
    "task export-9 has no status (unknown_entity",
)
def _(site: Site) -> None:
    site.reject("export-9", "unknown_entity", "running")


@broken(
    "producer that computes partitions wrongly",
    {"producers: forwarded": "warn"},
    "300 of 400 entries came to another partition's stream",
)
def _(site: Site) -> None:
    site.client.hset(site.hash(), mapping={"applied": 100, "forwarded": 300})


@broken("other partitions", {"configuration: partitions": "fail"}, "configured are 8")
def _(site: Site) -> None:
    site.configure("partitions = 8")


@broken("other layout", {"configuration: layout": "fail"}, 'layout = "single"')
def _(site: Site) -> None:
    site.configure('layout = "cluster"')


@broken("other rules", {"configuration: rules": "fail"}, "nor was it ever")
def _(site: Site) -> None:
    rules = default_file("rules.toml").read_text().replace("max_retries = 3", "max_retries = 9")
    (site.folder / "rules.toml").write_text(rules)
    site.arguments += ["--rules", str(site.folder / "rules.toml")]


@broken("rules that cannot work", {"configuration: rules": "fail"}, "max_clock_skew: missing")
def _(site: Site) -> None:
    (site.folder / "rules.toml").write_text("[task]")
    site.arguments += ["--rules", str(site.folder / "rules.toml")]


@broken("earlier rules", {"configuration: rules": "warn"}, "has revision 1, and 2 is in force")
def _(site: Site) -> None:
    after = rules_json(msgspec.structs.replace(RULES, history=3))
    site.client.hset(site.keys.meta, mapping={"revision": 2, "rules": after, "rules:2": after})
    for number in range(4):
        site.client.hset(site.hash(number), "revision", 2)
    site.arguments += ["--rules", str(default_file("rules.toml"))]


@broken(
    "memory that is not there", {"configuration: memory": "warn"}, "live_bytes is 102,400,000 MiB"
)
def _(site: Site) -> None:
    site.configure('live_bytes = "100000GiB"')


@broken(
    "heartbeat too long for the leases",
    {"configuration: settings": "fail"},
    "lease_ttl: 3600000 ms is less than 3 heartbeats",
)
def _(site: Site) -> None:
    site.configure('heartbeat = "30m"')


@broken(
    "unknown setting", {"configuration: settings": "fail"}, "no such setting; did you mean prefix?"
)
def _(site: Site) -> None:
    site.configure('prefx = "other"')


NOT_SEEN = [
    *("deployment: owners", "deployment: leases", "deployment: cursors", "deployment: lag"),
    *("deployment: lost", "deployment: rules", "producers: dropped", "producers: forwarded"),
]
"""What cannot be looked at where one of the partitions' keys has another type."""


def unseen(*others: str) -> dict[str, str]:
    """Return what is warned of where these and the partitions cannot be looked at."""
    return dict.fromkeys([*NOT_SEEN, *others], "warn")


@broken("lease of another type", unseen(), "could not look: GET {prefix}:lease:{0}: WRONGTYPE")
def _(site: Site) -> None:
    site.client.delete(site.keys.lease(0))
    site.client.rpush(site.keys.lease(0), "one")


@broken(
    "stream of another type",
    unseen("deployment: groups", "deployment: last IDs"),
    "could not look: XINFO GROUPS {prefix}:events:{0}: WRONGTYPE",
)
def _(site: Site) -> None:
    site.client.delete(site.events())
    site.client.set(site.events(), "mine")


@broken(
    "rejections of another type",
    unseen("producers: rejected", "producers: waiting"),
    "could not look: XLEN {prefix}:rejected: WRONGTYPE",
)
def _(site: Site) -> None:
    site.client.set(site.keys.partition(0).rejected, "mine")


@broken(
    "status of another type",
    {"producers: waiting": "warn", "producers: rejected": "warn"},
    "task export-9 has no status (corrupt_state",
)
def _(site: Site) -> None:
    site.client.rpush(site.keys.partition(3).status("task", "export-9"), "mine")
    site.reject("export-9", "corrupt_state", "running")
