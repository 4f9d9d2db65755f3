"""The rules: the contract's tables, and the refusal of all that cannot work."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from status_tracker.decode import Decoder
from status_tracker.errors import ConfigError
from status_tracker.lifecycle import Edge, Lifecycle
from status_tracker.models import Rejection, Update
from status_tracker.rules import (
    differences,
    in_words,
    load_rules,
    parse_rules,
    rules_json,
    without_times,
)
from status_tracker.settings import default_file

from tests.model import INITIAL, MAX_RETRIES, PHASES, RESTARTS, RETRIES, SUCCESS, TERMINAL
from tests.model import TRANSITIONS as PLAIN
from tests.unit.deployments import DEPLOYMENTS, Deployment

DEFAULTS = default_file("rules.toml").read_text()
LIMITS = b'max_clock_skew = "60s"\nclock_skew = "1s"\nmax_event_bytes = "64KiB"\n'
KIND = """[kind{0}]
phases = ["on", "off"]
initial = ["on"]
success = []
terminal = ["off"]
transitions = {{ on = ["off"] }}
"""
ENDLESS = KIND.format(0).replace("success", 'on_stalled = "off"\nsuccess').encode()
KEPT = KIND.format(0).replace("success", 'retention = "7d"\nsuccess').encode()
MANY = "".join(KIND.format(number) for number in range(33)).encode()


def lifecycle(kind: str) -> Lifecycle:
    """Return the default lifecycle of a kind."""
    return load_rules(default_file("rules.toml")).kinds[kind]


@pytest.mark.parametrize("kind", PHASES)
def test_the_defaults_are_the_contract_s_tables(kind: str) -> None:
    """Every step of DESIGN.md section 5 is there with its meaning, and none besides."""
    expected = {
        (start, end): edge
        for edge, table in (
            (Edge.TRANSITION, PLAIN),
            (Edge.RETRY, RETRIES),
            (Edge.RESTART, RESTARTS),
        )
        for start, ends in table[kind].items()
        for end in ends
    }
    found = {
        (start, end): edge
        for start, ends in lifecycle(kind).edges.items()
        for end, edge in ends.items()
    }
    assert found == expected
    assert list(lifecycle(kind).edges) == PHASES[kind]


@pytest.mark.parametrize("kind", PHASES)
def test_the_defaults_are_the_contract_s_phases(kind: str) -> None:
    """Where a life begins, what success is, what is final, and how many retries there are."""
    assert lifecycle(kind).initial == set(INITIAL[kind])
    assert lifecycle(kind).success == set(SUCCESS[kind])
    assert lifecycle(kind).terminal == set(TERMINAL[kind])
    assert lifecycle(kind).max_retries == (MAX_RETRIES if kind == "task" else None)


REFUSED = {
    "unknown phase to go to": (
        ('pending = ["waiting",', 'pending = ["queued", "waiting",'),
        "task.transitions.pending: 'queued' is no",
    ),
    "unknown phase to leave": (
        ('waiting = ["running",', 'queued = ["running",'),
        "task.transitions.queued: 'queued' is no",
    ),
    "unknown phase to retry": (
        ('failed = ["pending", "waiting"]', 'failed = ["later"]'),
        "task.retries.failed: 'later' is no",
    ),
    "unknown phase to restart": (
        ('failed = ["waiting", "processing"]', 'failed = ["running"]'),
        "asset.restarts.failed: 'running' is no",
    ),
    "unknown initial phase": (
        ('initial = ["pending"]', 'initial = ["Pending"]'),
        "task.initial: 'Pending' is no",
    ),
    "unknown success phase": (
        ('success = ["ready"]', 'success = ["completed"]'),
        "asset.success: 'completed' is no",
    ),
    "unknown terminal phase": (
        ('terminal = ["deleted"]', 'terminal = ["gone"]'),
        "asset.terminal: 'gone' is no",
    ),
    "unreachable phase": (
        ('running = ["completed", "failed", "cancelled"]', 'running = ["failed"]'),
        "task.transitions: nothing leads to completed",
    ),
    "unreachable island": (
        ('waiting = ["running", ', "waiting = ["),
        "task.transitions: nothing leads to running",
    ),
    "phase in which nothing begins": (
        ('initial = ["uploading", "waiting"]', 'initial = ["waiting"]'),
        "asset.transitions: nothing leads to uploading",
    ),
    "transition out of a terminal phase": (
        ('ready = ["deleting"]', 'ready = ["deleting"]\ndeleted = ["ready"]'),
        "asset.transitions.deleted: deleted -> ready leaves a terminal phase",
    ),
    "retry out of a terminal phase": (
        ("[task.retries]", '[task.retries]\ncompleted = ["waiting"]'),
        "task.retries.completed: completed -> waiting leaves a terminal phase",
    ),
    "restart out of a terminal phase": (
        ("[task.restarts]", '[task.restarts]\ncompleted = ["pending"]'),
        "task.restarts.completed: completed -> pending leaves a terminal phase",
    ),
    "retries of a kind that counts none": (
        ("[asset.restarts]", "[asset.retries]"),
        "asset.max_retries: missing; say how often",
    ),
    "a kind called like a part of a key": (("[asset]", "[events]"), "events: it is a part of"),
    "a kind in capitals": (("[asset]", "[Asset]"), "Asset: a kind is called"),
    "a phase of two words": (
        ('phases = ["pending", ', 'phases = ["In Progress", "pending", '),
        "task.phases: 'In Progress': a phase is called",
    ),
    "a phase twice": (
        ('phases = ["pending", ', 'phases = ["pending", "pending", '),
        "task.phases: pending stands there twice",
    ),
    "settled in a phase that is none": (
        ('settled = ["ready", ', 'settled = ["done", "ready", '),
        "asset.settled: 'done' is no",
    ),
    "phases missing": (
        ('phases = ["pending", ', '# phases = ["pending", '),
        "task.phases: missing",
    ),
    "a duration without unit": (('clock_skew = "1s"', "clock_skew = 1"), "clock_skew: write a dur"),
    "history of text": (("history = 0", 'history = "many"'), "history: write a whole number"),
    "too much history": (("history = 0", "history = 10001"), "history: write a whole number"),
    "a size without unit": (
        ('max_event_bytes = "64KiB"', "max_event_bytes = 65536"),
        "max_event_bytes: write a size",
    ),
    "a limit missing": (('max_clock_skew = "60s"', ""), "max_clock_skew: missing; write a dur"),
    "no max_retries": (("max_retries = 3", ""), "task.max_retries: missing"),
    "negative max_retries": (
        ("max_retries = 3", "max_retries = -1"),
        "task.max_retries: write a whole",
    ),
    "max_retries as text": (
        ("max_retries = 3", 'max_retries = "3"'),
        "task.max_retries: write a whole",
    ),
    "step in two tables": (
        ('running = ["waiting"]', 'running = ["waiting", "failed"]'),
        "task.retries.running: running -> failed stands in task.transitions.running too",
    ),
    "step twice in a table": (
        ('running = ["waiting"]', 'running = ["waiting", "waiting"]'),
        "task.retries.running: running -> waiting stands in task.retries.running too",
    ),
    "step to itself": (
        ('ready = ["deleting"]', 'ready = ["ready", "deleting"]'),
        "asset.transitions.ready: ready -> ready goes nowhere",
    ),
    "no initial phase": (('initial = ["pending"]', "initial = []"), "task.initial"),
    "initial missing": (
        ('initial = ["pending"]', ""),
        "task.initial: missing; write a list of phases",
    ),
    "a key at the top": (("history = 0", "histories = 0"), "histories: write a table"),
    "unknown key": (("max_retries = 3", "max_retires = 3"), "task.max_retires: no such key"),
    "table misspelt": (("[asset.restarts]", "[asset.restart]"), "asset.restart: no such key"),
    "text for a list": (
        ('terminal = ["deleted"]', 'terminal = "deleted"'),
        "asset.terminal: write a list of phases",
    ),
    "text for a list of steps": (
        ('ready = ["deleting"]', 'ready = "deleting"'),
        "asset.transitions: write a table of phases",
    ),
    "a number among steps": (
        ('ready = ["deleting"]', "ready = [3]"),
        "asset.transitions: write a table of phases",
    ),
    "stalled in no phase": (('waiting = "6h"', 'queued = "6h"'), "task.stalled: 'queued' is no"),
    "stalled without unit": (
        ('waiting = "6h"', "waiting = 6"),
        "task.stalled: '6': write",
    ),
    "stalled at once": (('waiting = "6h"', 'waiting = "0s"'), "task.stalled.waiting: 0 is too"),
    "stalled when all is over": (
        ('waiting = "6h"', 'completed = "6h"'),
        "task.stalled.completed: nothing is to come after a terminal phase",
    ),
    "stalled leads nowhere": (
        ("[task.transitions]", 'on_stalled = "completed"\n[task.transitions]'),
        "task.on_stalled: waiting -> completed is no step of task.transitions",
    ),
    "stalled leads to no phase": (
        ("[task.transitions]", 'on_stalled = "stuck"\n[task.transitions]'),
        "task.on_stalled: 'stuck' is no task phase",
    ),
    "gone from no phase": (('completed = "7d"', 'done = "7d"'), "task.retention: 'done' is no"),
    "gone at once": (('completed = "7d"', 'completed = "0d"'), "task.retention.completed: 0 is"),
    "no TOML": (("[task]", "[task"), "line"),
}


@pytest.mark.parametrize(("slip", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused(tmp_path: Path, slip: tuple[str, str], says: str) -> None:
    """A slip is found at start, in one line that names the file and the key to change."""
    assert DEFAULTS.count(slip[0]) >= 1
    path = tmp_path / "rules.toml"
    path.write_text(DEFAULTS.replace(*slip, 1))
    with pytest.raises(ConfigError) as refused:
        load_rules(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(None, "cannot be read: No such file or directory", id="missing"),
        pytest.param(b"\xff\xfe", "is not UTF-8", id="binary"),
        pytest.param(b"", "max_clock_skew: missing; write a duration", id="empty"),
        pytest.param(LIMITS, "there is no kind: write a table for each", id="no kind"),
        pytest.param(LIMITS + b"task = 3", "task: write a table", id="a number"),
        pytest.param(LIMITS + ENDLESS, "kind0.on_stalled: no phase has a limit", id="no limit"),
        pytest.param(LIMITS + KEPT, "kind0.retention: write a table of phases, each", id="kept"),
        pytest.param(LIMITS + MANY, "33 kinds are too many", id="33 kinds"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    """A path that leads nowhere, or to something else, is named."""
    path = tmp_path / "rules.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_rules(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert says in str(refused.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A folder in the place of the file is named."""
    with pytest.raises(ConfigError, match="Is a directory"):
        load_rules(tmp_path)


@pytest.mark.parametrize(
    "slip",
    [
        pytest.param(("max_retries = 3", "max_retries = 0"), id="no retries at all"),
        pytest.param(('running = ["waiting"]\n', ""), id="fewer retries"),
        pytest.param(('[asset.restarts]\nfailed = ["waiting", "processing"]', ""), id="none"),
        pytest.param(('terminal = ["completed"]', "terminal = []"), id="nothing terminal"),
    ],
)
def test_other_lives_are_possible(tmp_path: Path, slip: tuple[str, str]) -> None:
    """A deployment may change its lifecycles in any way that works."""
    assert slip[0] in DEFAULTS
    path = tmp_path / "rules.toml"
    path.write_text(DEFAULTS.replace(*slip, 1))
    assert set(load_rules(path).kinds) == {"task", "asset"}


def test_settled_follows_from_the_lifecycle(tmp_path: Path) -> None:
    """Where a kind does not say, it is where no plain step leads on, and success."""
    assert lifecycle("task").settled == {"completed", "failed", "cancelled"}
    assert lifecycle("asset").settled == {"ready", "failed", "deleted"}
    path = tmp_path / "rules.toml"
    path.write_text(DEFAULTS.replace('settled = ["ready", "failed", "deleted"]', ""))
    assert load_rules(path).kinds["asset"].settled == {"ready", "deleted"}


def test_times_are_told_by_phase() -> None:
    """What happens by itself is part of the rules, and may be left out."""
    task = lifecycle("task")
    assert task.stalled == {"waiting": 6 * 3_600_000, "running": 300_000}
    assert task.on_stalled is None
    assert task.retention["failed"] == 30 * 86_400_000
    shipped = load_rules(default_file("rules.toml"))
    found = differences(shipped, without_times(shipped))
    assert [(each.key, each.before, each.after) for each in found][:2] == [
        ("task.stalled.waiting", "6h", None),
        ("task.stalled.running", "5m", None),
    ]
    assert len(found) == 8, "and nothing else"


def test_as_many_kinds_and_phases_as_there_may_be(tmp_path: Path) -> None:
    """32 kinds of 64 phases make a deployment."""
    phases = [f"p{number}" for number in range(64)]
    steps = ", ".join(f'p{number} = ["p{number + 1}"]' for number in range(63))
    tables = [
        f"[k{number}]\nphases = {phases}\ninitial = ['p0']\nsuccess = []\nterminal = ['p63']\n"
        f"transitions = {{ {steps} }}\n"
        for number in range(32)
    ]
    path = tmp_path / "rules.toml"
    path.write_text(LIMITS.decode() + "".join(tables))
    rules = load_rules(path)
    assert len(rules.kinds) == 32
    decoder = Decoder(rules)
    data = b'{"kind":"k31","id":"a","phase":"p63","updatedAt":1700000000000}'
    assert isinstance(decoder.decode(data), Update)
    found = decoder.decode(data.replace(b"k31", b"k32"))
    assert isinstance(found, Rejection)
    assert found.detail.startswith('kind: "k32"; must be k0, k1')


def test_the_examples_of_a_kind_of_one_s_own_are_rules(tmp_path: Path) -> None:
    """What the page and the file itself teach works as it stands there, and is one kind."""
    page = (Path(__file__).parents[2] / "docs/kinds.md").read_text()
    of_page = re.search(r"^```toml\n(\[export\]\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    of_file = re.search(r"^#   \[export\]\n(?:#   .*\n)+", DEFAULTS, re.MULTILINE)
    assert of_page is not None
    assert of_file is not None
    found = []
    for example in (of_page[1], of_file[0].replace("#   ", "")):
        path = tmp_path / "rules.toml"
        path.write_text(DEFAULTS + example)
        kinds = load_rules(path).kinds
        assert list(kinds) == ["task", "asset", "export"]
        found.append(kinds["export"])
    assert found[0] == found[1]


@given(DEPLOYMENTS)
def test_rules_are_read_back_as_they_were_written(deployment: Deployment) -> None:
    """What the meta key holds is what the file said, for whoever reads it."""
    text = rules_json(deployment.rules)
    read = parse_rules(msgspec.json.decode(text))
    assert read == deployment.rules
    assert rules_json(read) == text
    assert differences(read, deployment.rules) == []


@given(DEPLOYMENTS, DEPLOYMENTS)
def test_rules_differ_where_they_say_so(one: Deployment, other: Deployment) -> None:
    """No difference is left out, and each has two sides."""
    found = differences(one.rules, other.rules)
    assert (found == []) is (one.rules == other.rules)
    assert all(each.before != each.after for each in found)
    back = differences(other.rules, one.rules)
    assert {each.key for each in back} == {each.key for each in found}


def test_differences_are_told_by_the_file_s_keys() -> None:
    """An operator finds each in the file."""
    text = DEFAULTS.replace("max_retries = 3 ", "max_retries = 7 ").replace('"60s"', '"90s"')
    text = text.replace('ready = ["deleting"]\n', "").replace("[task", "[job")
    found = differences(parse_rules(tomllib.loads(DEFAULTS)), parse_rules(tomllib.loads(text)))
    assert [(each.key, in_words(each.before), in_words(each.after)) for each in found] == [
        ("max_clock_skew", "1m", "90s"),
        ("asset.transitions.ready", "deleting", "nothing"),
        ("task", "pending, waiting, running, failed, completed, cancelled", "nothing"),
        ("job", "nothing", "pending, waiting, running, failed, completed, cancelled"),
    ]
