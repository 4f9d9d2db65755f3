"""The plugin in runs of pytest: of suites as users have them, with the extra and without it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

# Without the plugin of hypothesis: it is imported for each run, and nothing here needs it.
SETTINGS = """
[pytest]
addopts = -p no:hypothesispytest
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""

SUITE = """
import pytest
from status_tracker import AsyncEmitter, AsyncStatusReader, Emitter, StatusReader

PHASES = ["pending", "waiting", "running"]

@pytest.mark.parametrize("number", range(4))
def test_plain(status_tracker, number):
    url, prefix = status_tracker.url, status_tracker.prefix
    with Emitter(url, prefix=prefix) as emitter, StatusReader(url, prefix=prefix) as reader:
        for phase in PHASES:
            emitter.task("a", phase)
        status_tracker.settle()
        assert reader.task("a").phase == "running"
        assert status_tracker.phases("a") == PHASES
        assert len(status_tracker.changes) == 3
        assert status_tracker.rejected == []
        status_tracker.redeliver()
        assert status_tracker.client.exists(f"{prefix}:task:a")

@pytest.mark.parametrize("number", range(4))
async def test_awaited(status_tracker, number):
    for phase in PHASES:
        await status_tracker.async_emitter.task("a", phase)
    status_tracker.settle()
    status = await status_tracker.async_reader.wait("task", "a", until="running", timeout=9)
    assert status == status_tracker.task("a")
    assert await status_tracker.async_client.exists(f"{status_tracker.prefix}:task:a")
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder for a suite; whoever runs these tests has given no settings to it."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makefile(".ini", pytest=SETTINGS)
    return pytester


@pytest.mark.parametrize("server", ["memory", "embedded"])
def test_one_suite_on_each_server(suite: pytest.Pytester, server: str) -> None:
    """With asyncio and without, in memory and on a real server, where nothing is left open."""
    suite.makepyfile(SUITE)
    ran = suite.runpytest_inprocess(f"--status-tracker-server={server}")
    ran.assert_outcomes(passed=8)


def test_the_documentation(suite: pytest.Pytester) -> None:
    """What is written there works as it stands."""
    root = Path(__file__).parents[2]
    for page in ("README.md", "docs/testing.md"):
        blocks = re.findall(r"```python\n(.*?)```", root.joinpath(page).read_text(), re.DOTALL)
        tests = "\n".join(block for block in blocks if "(status_tracker)" in block)
        suite.makepyfile(**{f"test_{Path(page).stem.lower()}": tests})
    suite.runpytest_inprocess().assert_outcomes(passed=7)


def test_several_processes(suite: pytest.Pytester) -> None:
    """With pytest-xdist, tests that run at the same time do not see each other."""
    suite.makepyfile(SUITE)
    ran = suite.runpytest_subprocess("-n", "2", "--status-tracker-server=memory")
    ran.assert_outcomes(passed=8)


def test_a_failure_tells_what_became_of_the_updates(suite: pytest.Pytester) -> None:
    """Whoever reads a report sees which phase came after which, and why an update was rejected."""
    suite.makepyfile(
        """
        from status_tracker import Status

        def emit(kit, *phases):
            for phase in phases:
                kit.emitter.task("a", phase)

        def test_illegal(status_tracker):
            emit(status_tracker, "pending", "running")
            assert status_tracker.rejected == []

        def test_status(status_tracker):
            emit(status_tracker, "pending")
            assert status_tracker.task("a") == Status(phase="waiting", retries=0, updated_at=1)

        def test_nothing(status_tracker):
            emit(status_tracker, "pending")
            assert status_tracker.reader.task("a") == Status(phase="pending", updated_at=1)

        def test_changes(status_tracker):
            emit(status_tracker, "pending", "waiting")
            changes = status_tracker.changes
            assert changes == changes[::-1]

        def test_repeat(status_tracker):
            for phase in ("pending", "waiting", "running"):
                status_tracker.emitter.task("a", phase, updated_at=1700000000000)
            status_tracker.redeliver()
        """
    )
    ran = suite.runpytest_inprocess()
    ran.assert_outcomes(failed=5)
    ran.stdout.fnmatch_lines(
        [
            "*assert [[]1 of them[]] == [[]0 of them[]]",
            "*left has besides: rejected: illegal_transition: pending -> running; *",
            "*- status_tracker -*",
            "task a: pending",
            "rejected: illegal_transition: pending -> running; waiting, failed or cancelled may *",
            "*assert Status == Status",
            "*phase: 'pending' == 'waiting'",
            "*updated_at: * == 1",
            "*assert None == Status(phase='pending', updated_at=1)",
            "updates that are not folded yet: 1; status_tracker.settle() folds them",
            "*at 0: task a: new -> pending == task a: pending -> waiting",
            "*from_phase: None == 'pending'",
            "*a repeat changed statuses:*",
            "*task a: retries: 0 -> 1",
        ]
    )
    assert "redeliver(self)" not in ran.stdout.str()


def test_without_the_extra(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite runs as ever, and the one test that asks for the fixture is told what to install."""
    monkeypatch.setitem(sys.modules, "fakeredis", None)
    suite.makepyfile("def test_own(): pass\ndef test_kit(status_tracker): pass")
    ran = suite.runpytest_inprocess()
    ran.assert_outcomes(passed=1, errors=1)
    ran.stdout.fnmatch_lines(
        ["status_tracker: fakeredis is not installed: pip install 'status-tracker[[]testing[]]'*"]
    )
    assert "Traceback" not in ran.stdout.str()


def test_a_server_that_is_not_there(suite: pytest.Pytester) -> None:
    """One line for each test, and no traceback."""
    suite.makepyfile("def test_kit(status_tracker): pass")
    ran = suite.runpytest_inprocess("--status-tracker-server=redis://127.0.0.1:1/0")
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["status_tracker: redis://127.0.0.1:1/0: *refused*"])
    assert "Traceback" not in ran.stdout.str()


def test_who_does_not_use_it_does_not_pay_for_it(tmp_path: Path) -> None:
    """The plugin is loaded in every run of pytest: it imports nothing that is not there already."""
    look = (
        "import sys, pytest; before = set(sys.modules); import status_tracker.testing.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", look], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    names = ["", ".errors", ".testing", ".testing.plugin"]
    assert ran.stdout.split() == [f"status_tracker{name}" for name in names]
