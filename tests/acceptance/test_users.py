"""The users of `config/users.acl`: each does its work, over TLS where a server can, and no more."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry
from status_tracker import Emitter, StatusReader, UnavailableError
from status_tracker.keys import Keys

from tests.acceptance.producers import produce
from tests.acceptance.tracker import assert_as_modelled, drained, tracker
from tests.command import Ran, invoked
from tests.security import USERS, as_user, logged_in, password_of
from tests.servers import Redis, Server, binaries, replica_of, wait_until

KEYS = Keys("status", "single")
RULES = Path(__file__).parents[2] / "config/rules.toml"


@pytest.fixture(scope="module", params=binaries().items(), ids=lambda item: item[0])
def secured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with the shipped users, and a worker on it that is one of them."""
    name, binary = request.param
    folder = tmp_path_factory.mktemp(name)
    with Server(binary, folder / "server", secured=True) as server:
        rules = RULES.read_text().replace("history = 0", "history = 5")
        (folder / "history.toml").write_text(rules)
        arguments = ["--redis-url", server.url, "--rules", str(folder / "history.toml")]
        with tracker(folder / "worker", *arguments), server.client() as admin:
            wait_until(lambda: drained(admin, KEYS))
            yield server


@pytest.fixture
def admin(secured: Server) -> Iterator[Redis]:
    """Who may do all; at the end of a test, nothing was refused to anybody meanwhile."""
    with secured.client() as client:
        client.acl_log_reset()
        yield client
        assert client.acl_log() == []


def run_as(user: str, server: Server, *arguments: str) -> Ran:
    """Run a command as a user."""
    return invoked(*arguments, "--redis-url", as_user(user, server.url))


def test_the_worker_works(secured: Server, admin: Redis) -> None:
    """It applies, rejects, forwards, removes, and keeps histories: all that a commit may do."""
    produce(admin, KEYS, seed=1, count=2_000)
    wait_until(lambda: drained(admin, KEYS))
    model = assert_as_modelled(admin, KEYS, history=5)
    assert model.rejected
    assert model.forwards


def test_the_producer_produces(secured: Server, admin: Redis, tmp_path: Path) -> None:
    """By the library, with a limit on the backlog, by a reporter, and from a file."""
    with Emitter(as_user("producer", secured.url), max_backlog=1_000) as emitter:
        emitter.task("produced", "pending")
        emitter.emit_many([{"kind": "asset", "id": "produced", "phase": "waiting"}])
        with emitter.report("reported", begin=True) as report:
            report.progress(0.5)
    file = tmp_path / "updates"
    file.write_text(json.dumps({"kind": "task", "id": "from-a-file", "phase": "pending"}))
    assert run_as("producer", secured, "emit", "--from-file", str(file)).lines == ["sent: 1"]
    wait_until(lambda: drained(admin, KEYS))
    phases = [
        json.loads(each)["phase"]
        for each in admin.mget(
            KEYS.partition(0).status("task", "produced"),
            KEYS.partition(0).status("asset", "produced"),
            KEYS.partition(0).status("task", "reported"),
            KEYS.partition(0).status("task", "from-a-file"),
        )
    ]
    assert phases == ["pending", "waiting", "completed", "pending"]


def test_the_reader_reads(secured: Server, admin: Redis) -> None:
    """By all methods of the library, and by commands."""
    with Emitter(as_user("producer", secured.url)) as emitter:
        emitter.task("read", "pending")
        emitter.task("read", "running")  # no step leads there: it is rejected
        with StatusReader(as_user("reader", secured.url)) as reader:
            assert reader.wait("task", "read", until="pending", timeout=10).phase == "pending"
            token = reader.snapshot("task").token
            emitter.task("read", "waiting")
            assert next(reader.changes(after=token)).id == "read"
            wait_until(lambda: drained(admin, KEYS))
            assert reader.get_many("task", ["read"])["read"] is not None
            assert reader.list("task", "waiting").statuses
            assert "read" in reader.find("task", "read").statuses
            assert reader.counts("task")["waiting"]
            assert reader.history("task", "read")
            assert reader.rejected().entries
            assert reader.rejected(newest=True).entries
            assert reader.stalled_since("task", ["read"]) == {}
            assert reader.rules().kinds
    for command in ("get task read", "list task pending", "counts", "history task read"):
        assert run_as("reader", secured, *command.split(), "--json").code == 0, command


def test_the_operator_operates(secured: Server, admin: Redis, tmp_path: Path) -> None:
    """The commands that look, and those that change something."""
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES.read_text().replace("history = 0", "history = 4"))
    for command, code in [
        ("set task operated pending", 0),
        ("set task operated completed", 1),  # rejected
        ("get task operated", 0),
        ("list task pending", 0),
        ("counts", 0),
        ("history task operated", 0),
        ("wait task operated --until pending", 0),
        ("fleet", 0),
        ("rejected list", 0),
        ("rejected replay --id operated", 1),
        ("rejected purge --yes", 0),
        ("forget task operated --everywhere", 0),
        ("verify --repair", 0),
        ("rules show", 0),
        (f"rules apply {rules} --yes", 0),
    ]:
        result = run_as("operator", secured, *command.split())
        assert result.code == code, (command, result)
    assert admin.hget(KEYS.meta, "revision") == "2"


@pytest.mark.parametrize(("user", "check"), [("worker", "permissions"), ("operator", "keys")])
def test_the_doctor_looks(secured: Server, user: str, check: str) -> None:
    """The worker's user may do all that a worker does; settings, and so passwords, are hidden."""
    [said] = run_as(user, secured, "doctor", "--json").documents
    found = {(each["family"], each["check"]): each for each in said["findings"]}
    assert "ok" in [each["level"] for key, each in found.items() if key[1] == check], said
    assert "config|get" in found["server", "stream nodes"]["found"]


def test_metrics_are_read(secured: Server, admin: Redis) -> None:
    """What an exporter asks for, and the health check, which needs no more."""
    assert run_as("metrics", secured, "fleet", "--json").code == 0
    url = as_user("metrics", secured.url)
    with redis.Redis.from_url(url, protocol=2) as client:
        assert client.info()
        assert client.xinfo_groups(KEYS.events(0))


def test_a_replica_follows(secured: Server, admin: Redis, tmp_path: Path) -> None:
    """The user of replicas is enough for a replica."""
    with replica_of(secured, tmp_path / "replica") as replica, replica.client() as client:
        wait_until(lambda: client.exists(KEYS.meta))


@pytest.mark.parametrize("binary", binaries().values(), ids=binaries().keys())
def test_transactions_outlive_a_restart(binary: Path, tmp_path: Path) -> None:
    """Many servers replay their append-only file by what the user `default` may, who is off."""
    with Server(binary, tmp_path / "server", "--appendonly", "yes", secured=True) as server:
        with server.client() as client, client.pipeline() as at_once:
            at_once.set("status:task:a", "{}").set("status:task:b", "{}").execute()
        server.stop(signal.SIGKILL)
        server.start()
        with server.client() as client:
            assert client.exists("status:task:a", "status:task:b") == 2


REFUSED = {
    "worker": """
        SCAN 0
        RENAME status:task:a status:task:b
        XREADGROUP GROUP g c STREAMS status:events:{0} >
        GET statuses:task:a
        SET other:key x
        XADD other:events:{0} * data x
        EVAL x 1 other:key""",
    "producer": """
        GET status:task:a
        SET status:task:a x
        DEL status:task:a
        XADD status:events:0 * data x
        XADD status:changes * data x
        XADD status:rejected * data x
        XDEL status:events:{0} 1-1
        DEL status:events:{0}
        XTRIM status:events:{0} MAXLEN 0
        XGROUP SETID status:events:{0} tracker 0
        XREAD STREAMS status:events:{0} 0
        XRANGE status:rejected - +
        HGETALL status:counts:task
        HSET status:meta rules x
        SET status:lease:{0} me
        EVAL x 0
        INFO
        SCAN 0""",
    "reader": """
        SET status:task:a x
        DEL status:task:a
        ZADD status:phase:task:running 1 a
        XADD status:events:{0} * data x
        XRANGE status:events:{0} - +
        XREAD STREAMS status:events:{0} 0
        XREVRANGE status:events:{0} + -
        XDEL status:rejected 1-1
        XTRIM status:changes MAXLEN 0
        HSET status:meta rules x
        GET other:key
        EVAL x 0
        EVAL_RO x 0
        INFO
        SCAN 0""",
    "operator": """
        GET other:key
        SET other:key x
        RENAME status:task:a other:key
        XTRIM status:events:{0} MAXLEN 0
        RESTORE status:task:a 0 x
        MIGRATE host 1 status:task:a 0 1
        EVAL x 1 other:key""",
    "metrics": """
        GET status:task:a
        MGET status:task:a
        HGETALL status:history:task:a
        XRANGE status:rejected - +
        XRANGE status:changes - +
        XADD status:events:{0} * data x
        XGROUP DESTROY status:events:{0} tracker
        HSET status:partition:{0} cursor 0-0
        SET status:lease:{0} me
        DEL status:lease:{0}
        EVAL x 0
        SCAN 0""",
}
"""What each of them may not, with which somebody could see or do more than it is for."""

REFUSED_TO_ALL = """
    ACL LIST
    ACL SETUSER me on
    BGREWRITEAOF
    BGSAVE
    CLIENT KILL TYPE normal
    CLIENT LIST
    CLIENT PAUSE 1
    CLIENT TRACKING ON
    CLUSTER FAILOVER
    CLUSTER RESET
    CONFIG GET *
    CONFIG SET maxmemory 1
    DEBUG SLEEP 1
    FAILOVER
    FLUSHALL
    FLUSHDB
    FUNCTION FLUSH
    KEYS *
    LATENCY RESET
    MODULE LIST
    MONITOR
    OBJECT ENCODING status:meta
    PUBLISH status x
    REPLICAOF NO ONE
    SAVE
    SCRIPT FLUSH
    SHUTDOWN
    SLOWLOG GET
    SUBSCRIBE status
    SWAPDB 0 1"""


@pytest.mark.parametrize("user", REFUSED)
def test_the_rest_is_refused(secured: Server, user: str) -> None:
    """The server judges each command, and does not run it."""
    with secured.client() as client:
        judged = {
            command: client.execute_command("ACL DRYRUN", user, *command.split())
            for command in f"{REFUSED[user]}{REFUSED_TO_ALL}".split("\n")
            if command
        }
    allowed = [each for each, said in judged.items() if "no permission" not in str(said).lower()]
    assert len(judged) > 30
    assert allowed == []


@pytest.mark.parametrize("user", ["worker", "operator"])
def test_a_script_may_do_what_its_user_may(secured: Server, user: str) -> None:
    """Scripts, which two of them need, reach no key that they did not name either."""
    with redis.Redis.from_url(as_user(user, secured.url), protocol=2) as client:
        assert client.eval("return redis.call('GET', KEYS[1])", 1, "status:task:none") is None
        with pytest.raises(redis.ResponseError, match=r"(?i)permission|can't access"):
            client.eval("return redis.call('GET', 'other:key')", 0)


def test_who_does_not_log_in_is_nobody(secured: Server) -> None:
    """There is no user without a password, and the passwords count."""
    plain = f"redis://127.0.0.1:{secured.port}"
    wrong = [("worker", password_of("reader")), ("default", ""), ("default", "any")]
    for url in (plain, *(logged_in(plain, *login) for login in wrong)):
        client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        with client, pytest.raises(AuthenticationError):
            client.ping()


def test_the_library_says_what_was_refused(secured: Server) -> None:
    """A producer that has the reader's password is told so, at once, in one line."""
    with (
        Emitter(as_user("reader", secured.url)) as emitter,
        pytest.raises(UnavailableError, match=r"(?i)permission") as refused,
    ):
        emitter.task("a", "pending")
    assert isinstance(refused.value.__cause__, NoPermissionError)


def test_no_client_without_a_certificate(secured: Server) -> None:
    """By TLS, a password is not enough."""
    if not secured.tls_port:
        pytest.skip("this server was built without TLS")
    url = as_user("producer", secured.url)
    authority = url.partition("&")[0]
    assert authority.count("ssl_") == 1
    with Emitter(authority, retry_for=0) as emitter, pytest.raises(UnavailableError):
        emitter.task("a", "pending")
    with Emitter(url, retry_for=0) as emitter:
        assert emitter.task("with-a-certificate", "pending")


@pytest.mark.parametrize("binary", binaries().values(), ids=binaries().keys())
def test_placeholders_are_no_passwords(binary: Path, tmp_path: Path) -> None:
    """A server does not start with the file as it is shipped, and names the line."""
    options = ["--port", "0", "--unixsocket", str(tmp_path / "socket"), "--dir", str(tmp_path)]
    result = subprocess.run(
        [str(binary), *options, "--aclfile", str(USERS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    assert result.returncode == 1
    assert f"{USERS}:3: The password hash must be" in result.stdout
    lines = [line for line in USERS.read_text().splitlines() if " on " in line]
    assert len(lines) == 8
    assert [line for line in lines if line.count("#SHA256-OF-THE-PASSWORD-OF-") != 1] == []
