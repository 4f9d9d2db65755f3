"""`status-tracker doctor`, on deployments and on servers that are broken, each in one way."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from status_tracker.errors import EXIT_WARN
from status_tracker.keys import Keys
from status_tracker.lua import script
from status_tracker.monitoring.doctor.permissions import needed

from tests.clusters import ServerCluster
from tests.command import invoked
from tests.events import NOW
from tests.integration.broken_deployments import BROKEN, HOUR, LEASE_TTL, SECRET, Broken, Look, Site
from tests.line import deployed, meta_of
from tests.servers import Server, binaries, free_port, replica_of


@pytest.fixture(scope="module")
def good_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of which nothing bad can be said."""
    folder = tmp_path_factory.mktemp("doctor")
    with Server(binaries()["valkey"], folder, "--appendonly", "yes") as server:
        yield server
        # Nobody needs its data: it need not wait for a slow disk.
        server.stop(signal.SIGKILL)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run where no embedded server is."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def site(good_server: Server, tmp_path: Path) -> Iterator[Site]:
    """A deployment of its own."""
    with good_server.client() as client:
        yield Site(good_server, client, tmp_path)


def test_a_deployment_as_workers_leave_it(site: Site) -> None:
    """All is well, each check says so, and no key is another one than before."""
    before = dump(site)
    found = site.look()
    assert found.ill == {}
    assert len(found.findings) == 30
    assert dump(site) == before


def dump(site: Site) -> dict[bytes, object]:
    """Return every key of a deployment with its content."""
    with redis.Redis.from_url(site.server.url) as raw:
        return {key: raw.dump(key) for key in raw.scan_iter(match=f"{site.keys.prefix}:*")}


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_deployment(site: Site, case: Broken) -> None:
    """Doctor names what is wrong, and nothing that is not."""
    case.break_it(site)
    found = site.look()
    # Without a deployment, nothing can be compared with it.
    compared = {f"configuration: {name}" for name in ("partitions", "layout")}
    beside = compared if "deployment: meta" in case.ill else set()
    assert {name: level for name, level in found.ill.items() if name not in beside} == case.ill
    says = case.says.replace("{prefix}", site.keys.prefix)
    assert says in found.found(next(iter(case.ill)))


def test_what_came_late_or_long_ago_is_no_trouble(site: Site) -> None:
    """Rejections that a newer update made good, or that are known by now, are not warned of."""
    site.publisher.change("export-9", "waiting", updatedAt=NOW)
    site.reject("export-9", "stale", "pending")
    site.client.xadd(
        site.keys.partition(0).rejected,
        {"reason": "invalid", "detail": "?", "data": "{}", "stream": site.events(), "id": "1-1"},
        id=f"{site.now + HOUR}-0",
    )
    assert set(site.look().ill) == {"producers: rejected"}
    site.client.delete(site.keys.partition(0).rejected)
    site.reject("export-9", "stale", "pending")
    assert site.look().ill == {}


def test_a_later_update_ends_the_wait(site: Site) -> None:
    """What was rejected before the status counts no more, whatever the reason."""
    site.publisher.clock = site.now + 1000
    site.publisher.change("export-9", "waiting")
    site.reject("export-9", "illegal_transition", "completed")
    assert set(site.look().ill) == {"producers: rejected"}


def test_another_deployment_whose_prefix_begins_alike(site: Site) -> None:
    """Its keys are its own."""
    inner = Keys(f"{site.keys.prefix}:eu", "single")
    site.client.hset(inner.meta, mapping=meta_of(site.deployment))
    site.client.xadd(inner.events(0), {"data": "{}"})
    assert site.look().ill == {}


def test_a_variable_that_looks_like_a_setting(site: Site) -> None:
    """A slip in the environment is found: it is no error anywhere else."""
    own = ["--redis-url", site.server.url, "--prefix", site.keys.prefix, "--json"]
    found = Look(invoked("doctor", *own, STATUS_LEASE_TTL=LEASE_TTL, STATUS_PARTITION="8"))
    assert found.ill == {"configuration: settings": "warn"}
    assert "did you mean STATUS_PARTITIONS?" in found.found("configuration: settings")


SERVERS = {
    "evicts": ({"maxmemory-policy": "allkeys-lru"}, "eviction", "fail", "statuses vanish"),
    "evicts-leases": ({"maxmemory-policy": "volatile-ttl"}, "eviction", "fail", "leases vanish"),
    "nearly-full": ({"maxmemory": "{used}"}, "memory", "fail", "soon nothing can be written"),
    "snapshots-only": (
        {"appendonly": "no", "save": "3600 1"},
        "persistence",
        "warn",
        "only snapshots (save 3600 1): a crash loses what came since the last one",
    ),
    "nothing-on-disk": (
        {"appendonly": "no", "save": ""},
        "persistence",
        "warn",
        "nothing is written to disk",
    ),
    "no-fsync": ({"appendfsync": "no"}, "persistence", "warn", "appendfsync no"),
    "endless-nodes": (
        {"stream-node-max-bytes": "0"},
        "stream nodes",
        "warn",
        "stream-node-max-bytes is without a limit",
    ),
    "small-buffers": (
        {"client-output-buffer-limit": "normal 1048576 0 0"},
        "output buffers",
        "warn",
        "may be cut off",
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_broken_server(site: Site, name: str) -> None:
    """What its configuration would cost is said before it does."""
    settings, check, level, says = SERVERS[name]
    client = site.client
    before = {each: client.config_get(each)[each] for each in settings}
    used = client.info("memory")["used_memory"]
    try:
        for setting, value in settings.items():
            client.config_set(setting, value.format(used=used * 101 // 100))
        found = site.look()
    finally:
        for setting, value in before.items():
            client.config_set(setting, value)
    assert found.ill == {f"server: {check}": level}
    assert says in found.found(f"server: {check}")


def test_a_replica(site: Site, tmp_path: Path) -> None:
    """It can be looked at like its master, but no worker can work there."""
    with replica_of(site.server, tmp_path / "replica") as replica:
        found = site.look(url=replica.url)
    assert found.ill == {"server: role": "fail", "server: persistence": "warn"}
    assert f"a replica of 127.0.0.1:{site.server.port}" in found.found("server: role")


@contextmanager
def user(site: Site, *commands: str, keys: Sequence[str] = ("{prefix}:*",)) -> Iterator[str]:
    """Have a user with half the permissions; return the URL with it."""
    patterns = [each.replace("{prefix}", site.keys.prefix) for each in keys]
    site.client.acl_setuser(
        "half", enabled=True, passwords=[f"+{SECRET}"], keys=patterns, commands=list(commands)
    )
    try:
        yield site.server.url.replace("//", f"//half:{SECRET}@")
    finally:
        site.client.acl_deluser("half")


UNSEEN_SETTINGS = dict.fromkeys(["server: stream nodes", "server: output buffers"], "warn")
"""What only an administrator may look at."""


def test_a_user_who_may_only_read(site: Site) -> None:
    """It sees all but the server's settings, and that no worker could work as this user."""
    with user(site, "+@read", "+@connection", "+info", "+time") as url:
        found = site.look(url=url)
    assert found.ill == {**UNSEEN_SETTINGS, "server: permissions": "fail"}
    assert "could not look: User half has no permissions to run the 'config|get' command" in (
        found.found("server: stream nodes")
    )
    assert "the user of the URL may not run scripts" in found.found("server: permissions")


def test_a_worker_s_user(site: Site) -> None:
    """With all that the documentation says a worker needs, a worker can work."""
    with user(site, "+@all", "-@admin", "-@dangerous", "+info") as url:
        assert site.look(url=url).ill == UNSEEN_SETTINGS


def test_a_worker_s_user_without_a_command_or_a_key(site: Site) -> None:
    """What is missing is named, by the command and the key."""
    with user(site, "+@all", "-config", "-xadd") as url:
        found = site.look(url=url).found("server: permissions")
    assert f"the user half may not XADD {site.events()}, XADD {site.keys.prefix}:changes" in found
    with user(site, "+@all", keys=["%R~{prefix}:*", "{prefix}:[^t]*"]) as url:
        found = site.look(url=url).found("server: permissions")
    assert f"the user half may not MSET {site.keys.prefix}:task:any, DEL" in found


def test_a_user_who_may_next_to_nothing(site: Site) -> None:
    """Then nothing can be said of the deployment, and that is no error."""
    with user(site, "+info") as url:
        found = site.look(url=url)
    assert "could not look: User half has no permissions" in found.found("deployment: meta")
    assert set(found.ill.values()) == {"warn"}


def test_every_command_of_a_worker_is_asked_for(site: Site) -> None:
    """A command that comes into a script or a client must come into the list as well."""
    names = {name.upper() for name in site.client.command_list()}
    package = Path(script.__file__).parents[1]
    # What other commands do, such as `verify`, a worker does not import.
    loaded = "import sys, status_tracker.app; print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", loaded], text=True).split()
    files = [package / "lua/common.lua", package / "metadata.py"]
    for module in modules:
        _, *parts = module.split(".")
        if parts and parts[0] in ("lua", "engine", "maintenance"):
            files += [package.joinpath(*parts).with_suffix(each) for each in (".py", ".lua")]
    words = {
        word
        for file in files
        if file.is_file()
        for word in re.findall(r"""['"]([A-Z]{3,})['"]""", file.read_text())
    }
    assert {"XPENDING", "MSET"} <= words
    asked = {str(command[0]) for command in needed(site.keys, is_cluster=True)}
    assert words & names <= asked


@pytest.mark.parametrize("settings", [[], ["--config", "odd.toml"]], ids=["plain", "file"])
def test_a_server_that_is_not_there(tmp_path: Path, settings: list[str]) -> None:
    """It is a finding like others, and the settings are looked at all the same."""
    (tmp_path / "odd.toml").write_text('live_bytes = "100000GiB"')
    url = f"redis://:{SECRET}@127.0.0.1:{free_port()}/0"
    found = Look(invoked("doctor", "--json", "--redis-url", url, *settings))
    assert found.ill["server: reach"] == "fail"
    assert ("configuration: memory" in found.ill) is bool(settings)


def test_a_wrong_password(good_server: Server) -> None:
    """Neither it nor the right one is said."""
    url = good_server.url.replace("//", f"//nobody:{SECRET}@")
    found = Look(invoked("doctor", "--json", "--redis-url", url))
    assert "the server refuses user or password" in found.found("server: reach")


def test_a_cluster_with_a_node_away(tmp_path: Path) -> None:
    """The node is named; what it has cannot be looked at, what others have is."""
    keys = Keys("status", "cluster")
    with ServerCluster(binaries()["valkey"], tmp_path) as cluster:
        with cluster.client() as client:
            client.hset(keys.meta, mapping=meta_of(deployed(layout="cluster", partitions=4)))
        look = ["doctor", "--json", "--redis-url", cluster.seeds]
        whole = Look(invoked(*look)).ill
        assert whole.pop("deployment: owners") == "fail"
        assert whole.pop("server: persistence") == "warn"  # no fsync
        assert whole == {"configuration: layout": "fail"}
        away = cluster.nodes[2]
        for node in (cluster.replica_of(away), away):
            node.stop(signal.SIGKILL)
        found = Look(invoked(*look, "--config", _file(tmp_path, 'layout = "cluster"')))
    assert f"{away.address}: it cannot be used: " in found.found("server: reach")
    assert found.ill["server: reach"] == "fail"


def _file(folder: Path, text: str) -> str:
    file = folder / "worker.toml"
    file.write_text(text)
    return str(file)


def test_lines_and_json_say_the_same(site: Site) -> None:
    """Lines are for people: one for each finding, without what a terminal would obey."""
    site.client.set(f"{site.keys.prefix}:cache:\x1b[2J", "?")
    own = ["--redis-url", site.server.url, "--prefix", site.keys.prefix]
    ran = invoked("doctor", *own, STATUS_LEASE_TTL=LEASE_TTL)
    *lines, counts = ran.out.splitlines()
    assert (ran.code, counts) == (EXIT_WARN, "29 ok, 1 warn, 0 fail")
    as_json = invoked("doctor", *own, "--json", STATUS_LEASE_TTL=LEASE_TTL)
    found = as_json.documents[0]["findings"]
    names = [f"{each['level']:4} {each['family']}: {each['check']}: " for each in found]
    assert all(line.startswith(name) for line, name in zip(lines, names, strict=True))
    [warned] = [line for line in lines if line.startswith("warn")]
    assert rf"{site.keys.prefix}:cache:\x1b[2J -> move them elsewhere" in warned


@pytest.mark.parametrize("columns", [80, 200])
def test_a_table_on_a_terminal(site: Site, columns: int) -> None:
    """It fits the terminal, and has the levels in colours."""
    site.client.set(f"{site.keys.prefix}:cache:\x1b[2J", "?")
    own = ["--redis-url", site.server.url, "--prefix", site.keys.prefix]
    out = invoked("doctor", *own, columns=columns, FORCE_COLOR="1").out
    assert "\x1b[33mwarn" in out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= columns
    assert "what to do" in plain
