"""What a reporter says, and what it keeps while the server is away; without a server."""

import logging
from typing import Any

import msgspec
import pytest
from redis import exceptions
from status_tracker import UnavailableError, UpdateError
from status_tracker.client import outbox
from status_tracker.client.emitting import Emitting, Options
from status_tracker.client.operations import Operation
from status_tracker.client.outbox import MOST, Entity, Outbox, Report
from status_tracker.client.reporting import Pace, Phases, Reporting
from status_tracker.client.updates import fields_of

from tests.unit.driving import KnownSite, Streams, driven

LOST = exceptions.ConnectionError("gone")


@pytest.fixture(autouse=True)
def _no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time does not pass here for a server that is away."""
    monkeypatch.setattr(outbox, "SENT_WITHIN", 0.0)


class Work:
    """A reporter, its clock, and the server that it reports to."""

    def __init__(self, **options: Any) -> None:
        self.streams = Streams()
        self.status: bytes | None = None
        self.is_away = False
        self.asked = 0
        self.now = 0.0
        site: Any = KnownSite()
        none = Options(retry_for=0, max_backlog=None, backlog_timeout=0, wait_replicas=0)
        self.outbox = Outbox(Emitting(site, none), site, 0, now=lambda: self.now)
        self.options = {"begin": False, "attempt": None, "strict": False, **options}
        self.reporting = self.reporter("a")

    def reporter(self, entity_id: str) -> Reporting:
        """Return another one of the same emitter."""
        return Reporting(
            self.outbox,
            Entity("task", entity_id),
            Phases("running", "completed", "failed"),
            Pace(every=1.0, step=0.05, heartbeat=60.0),
            now=lambda: self.now,
            **self.options,
        )

    def do(self, operation: Operation[None]) -> None:
        """Drive an operation."""
        driven(operation, self.answer)

    def answer(self, request: Any) -> Any:
        """Answer, unless the server is away."""
        self.asked += 1
        if self.is_away:
            return [LOST] * len(request)
        if request[0][0] == "MGET":
            return [[self.status]]
        return self.streams.answer(request)

    def said(self) -> list[tuple[Any, ...]]:
        """Return id, phase, progress and message of what was sent, in the order of its time."""
        found = [msgspec.json.decode(data) for data in self.streams.data()]
        found.sort(key=lambda each: float(each["updatedAt"]))
        return [
            tuple(each[name] for name in ("phase", "progress", "errorMessage") if name in each)
            for each in found
        ]


def test_work_is_begun_and_completed() -> None:
    """Two updates, when nothing else is asked for."""
    work = Work()
    work.do(work.reporting.enter())
    work.do(work.reporting.leave(None))
    assert work.said() == [("running",), ("completed",)]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (None, ["pending", "waiting", "running"]),
        (b'{"phase":"waiting","retries":0,"updatedAt":1700000000000}', ["running"]),
        (b'{"phase":"failed","retries":0,"updatedAt":1700000000000}', ["waiting", "running"]),
        (b"spoilt", ["pending", "waiting", "running"]),
    ],
)
def test_what_must_come_before_is_said_if_asked(status: bytes | None, said: list[str]) -> None:
    """From where the task is."""
    work = Work(begin=True)
    work.status = status
    work.do(work.reporting.enter())
    assert work.said() == [(phase,) for phase in said]


def test_progress_is_said_now_and_then() -> None:
    """At first, when it grew by 5 %, after a second, and at the end."""
    work = Work()
    for progress in (0.001, 0.002, 0.04, 0.06, 0.07):
        work.do(work.reporting.progress(progress))
    work.now = 1.0
    work.do(work.reporting.progress(0.08))
    work.do(work.reporting.progress(0.081))
    work.do(work.reporting.progress(1.0))
    assert [said[1] for said in work.said()] == [0.001, 0.06, 0.08, 1.0]


def test_a_failure_has_message_and_progress() -> None:
    """What the exception says, cut; also bytes that are no text arrive in some form."""
    work = Work()
    work.do(work.reporting.progress(0.2))
    work.do(work.reporting.progress(0.21))
    work.do(work.reporting.leave(OSError("no disk \udcff" + "x" * 5_000)))
    phase, progress, message = work.said()[-1]
    assert (phase, progress) == ("failed", 0.21)
    assert message.startswith("no disk \\udcffxxx")
    assert len(message) < 2_100
    work.do(work.reporting.leave(KeyboardInterrupt()))
    assert work.said()[-1] == ("failed", "KeyboardInterrupt") or work.said()[-1][2] == (
        "KeyboardInterrupt"
    )


def test_a_retry_leads_over_the_step_that_counts_it() -> None:
    """With the reason on the way, and the next attempt's number."""
    work = Work(attempt=1)
    work.do(work.reporting.enter())
    work.do(work.reporting.retry("encoder crashed"))
    assert work.said() == [("running",), ("waiting", "encoder crashed"), ("running",)]
    attempts = [msgspec.json.decode(data).get("attempt") for data in work.streams.data()]
    assert attempts == [1, None, 2]


def test_a_heartbeat_says_that_it_goes_on() -> None:
    """Only where nothing else was said for so long."""
    work = Work()
    work.do(work.reporting.enter())
    work.now = 59.0
    work.do(work.reporting.beat())
    assert len(work.said()) == 1
    work.now = 61.0
    work.do(work.reporting.beat())
    work.do(work.reporting.beat())
    assert work.said() == [("running",), ("running",)]


def test_what_cannot_be_sent_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """Every change of phase in order, the newest progress after the last; it is logged once."""
    work = Work(begin=True)
    other = work.reporter("b")
    work.is_away = True
    with caplog.at_level(logging.INFO, "status_tracker.client.outbox"):
        work.do(work.reporting.enter())
        for step in range(10):
            work.now += 2
            work.do(work.reporting.progress(step / 10))
        work.do(work.reporting.leave(None))
        work.do(other.enter())
        for step in range(10):
            work.now += 2
            work.do(other.progress(step / 10))
        assert work.said() == []
        work.is_away = False
        work.now += 100
        work.do(other.progress(0.95))
    assert work.said() == [
        *[(phase,) for phase in ("pending", "waiting", "running", "completed")],
        *[(phase,) for phase in ("pending", "waiting", "running")],
        ("running", 0.95),
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert len(work.outbox) == 0


def test_a_server_that_is_away_is_not_asked_for_each_report() -> None:
    """What cannot be reported must not hold up the work."""
    work = Work(begin=True)
    work.is_away = True
    work.do(work.reporting.enter())
    tries = work.asked
    for step in range(100):
        work.do(work.reporting.progress(step / 100))
    assert work.asked == tries > 0
    # Nor for each of those that are kept, when it is asked again.
    for number in range(10):
        work.do(work.reporter(str(number)).enter())
    work.now += 100
    work.do(work.reporting.progress(0.5))
    assert work.asked <= tries + 2


def test_what_is_kept_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """The oldest stay: a task whose beginning is lost could not be completed."""
    work = Work()
    work.is_away = True
    for number in range(MOST + 5):
        said = Report(Entity("task", "a"), fields_of("task", "a", "pending", progress=0))
        work.do(work.outbox.say(said))
        assert len(work.outbox) == min(number + 1, MOST)
    work.is_away = False
    work.do(work.outbox.close(100.0))
    assert len(work.streams.data()) == MOST
    assert "5 reports were dropped" in caplog.text


def test_what_the_rules_refuse_is_logged_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in a report breaks nothing, and what comes after it is sent."""
    work = Work()
    work.do(work.reporting.progress(47))
    work.do(work.reporting.leave(None))
    assert work.said() == [("completed",)]
    assert "task a: not reported: progress: 47; must be a number from 0 to 1" in caplog.text


def test_strict_raises() -> None:
    """For those who would rather stop."""
    work = Work(strict=True)
    with pytest.raises(UpdateError, match="progress"):
        work.do(work.reporting.progress(47))
    work.is_away = True
    with pytest.raises(UnavailableError, match="gone"):
        work.do(work.reporting.enter())
    assert len(work.outbox) == 0


def test_what_is_left_at_the_end_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """`close` gives it some time, and says what was lost."""
    work = Work()
    work.is_away = True
    work.do(work.reporting.enter())

    def pass_time(request: Any) -> Any:
        work.now += 1
        return work.answer(request)

    driven(work.outbox.close(3.0), pass_time)
    assert "1 reports were never sent" in caplog.text
