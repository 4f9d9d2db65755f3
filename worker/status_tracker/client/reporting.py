"""The logic of a reporter: what a piece of work says while it is done."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from status_tracker.client.operations import Background, Operation, Pause, Shell
from status_tracker.client.outbox import MOST_STEPS, Entity, Outbox, Report, Steps
from status_tracker.client.updates import fields_of

MESSAGE = 2_000
"""Characters of an exception's message that are reported: it counts to max_event_bytes."""

TICK = 1.0
"""Seconds between two looks at who needs a heartbeat, at most."""


class Phases(Struct, frozen=True):
    """What a kind's work is called, begun, completed and failed."""

    running: str
    completed: str
    failed: str


class Pace(Struct, frozen=True):
    """How often something is reported."""

    every: float
    """Seconds after which a new progress is reported."""
    step: float
    """By how much more it is reported earlier."""
    heartbeat: float
    """Seconds after which it is reported that the work goes on; 0: never."""


class Reporting:
    """One piece of work. Threads may take turns with it."""

    def __init__(
        self,
        outbox: Outbox,
        entity: Entity,
        phases: Phases,
        pace: Pace,
        *,
        attempt: int | None,
        begin: bool,
        strict: bool,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.entity = entity
        self.pace = pace
        self.strict = strict
        self._outbox = outbox
        self._phases = phases
        self._attempt = attempt
        self._begin = begin
        self._now = now
        self._progress: float | None = None
        self._told: float | None = None
        self._told_at = now()

    def enter(self) -> Operation[None]:
        """Say that the work is begun."""
        self._told_at = self._now()
        if self._begin:
            yield from self._say(self._steps())
        else:
            yield from self._say(self._report(self._phases.running))

    def progress(self, progress: float) -> Operation[None]:
        """Say how much is done, unless that was said a moment ago."""
        self._progress = progress
        grown = progress - (self._told or 0.0) >= self.pace.step
        # The first one is said at once, and so is the last.
        is_new = self._told is None or (progress >= 1 > self._told)
        if grown or is_new or self._now() - self._told_at >= self.pace.every:
            yield from self._say(self._news(), is_progress=True)

    def retry(self, reason: str) -> Operation[None]:
        """Say that it failed and is tried again: over a step that counts one."""
        if self._attempt is not None:
            self._attempt += 1
        self._progress = self._told = None
        yield from self._say(self._steps(_cut(reason)))

    def leave(self, error: BaseException | None) -> Operation[None]:
        """Say that it is completed, or that it failed with an exception."""
        if error is None:
            yield from self._say(self._report(self._phases.completed))
        else:
            message = _cut(str(error) or type(error).__name__)
            report = self._report(
                self._phases.failed, progress=self._progress, error_message=message
            )
            yield from self._say(report)

    def beat(self) -> Operation[None]:
        """Say that the work goes on, if that was not said for long."""
        if self.pace.heartbeat and self._now() - self._told_at >= self.pace.heartbeat:
            # Not strictly: nobody is there whom an error could be raised to.
            yield from self._outbox.say(self._news(), is_progress=True)

    def _news(self) -> Report:
        self._told, self._told_at = self._progress, self._now()
        return self._report(self._phases.running, progress=self._progress)

    def _report(self, phase: str, **others: Any) -> Report:
        kind, entity_id = self.entity.kind, self.entity.id
        clock = self._outbox.clock
        fields = fields_of(kind, entity_id, phase, clock=clock, attempt=self._attempt, **others)
        return Report(self.entity, fields)

    def _steps(self, retry_reason: str | None = None) -> Steps:
        times = [self._outbox.clock() for _ in range(MOST_STEPS)]
        return Steps(self.entity, self._phases.running, self._attempt, times, retry_reason)

    def _say(self, said: Report | Steps, *, is_progress: bool = False) -> Operation[None]:
        if self.strict:
            yield from self._outbox.say_strictly(said)
        else:
            yield from self._outbox.say(said, is_progress=is_progress)


class Heart:
    """Lets those beat who are at work, as long as there are any."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._begin_empty()

    def _begin_empty(self) -> None:
        self._working: set[Reporting] = set()
        self._beating: Background | None = None
        self._lock = threading.Lock()
        self._process = os.getpid()

    def start(self, reporting: Reporting) -> None:
        """Note who is at work."""
        if self._process != os.getpid():
            self._begin_empty()  # the parent's thread is not here
        with self._lock:
            if reporting.pace.heartbeat:
                self._working.add(reporting)
            if self._working and self._beating is None:
                self._beating = self._shell.spawn(self._beat(), "heartbeat")

    def stop(self, reporting: Reporting) -> None:
        """Forget who is done."""
        with self._lock:
            self._working.discard(reporting)
            if not self._working and self._beating is not None:
                self._beating.stop()
                self._beating = None

    def _beat(self) -> Operation[None]:
        while True:
            working = list(self._working)
            yield Pause(min([TICK, *(each.pace.heartbeat / 4 for each in working)]))
            for each in working:
                if each in self._working:
                    yield from each.beat()


def _cut(message: str) -> str:
    """Return text that an update can hold: paths, say, may have bytes that are none."""
    return message[:MESSAGE].encode(errors="backslashreplace").decode()
