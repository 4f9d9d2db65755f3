"""What reporters have to say and could not yet: in order, bounded, sent when that is possible."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from msgspec import Struct
from redis.exceptions import ResponseError

from status_tracker.client.documents import status_in
from status_tracker.client.emitting import Emitting
from status_tracker.client.operations import Operation, Pause, asked
from status_tracker.client.site import Site
from status_tracker.client.steps import way_back, way_to
from status_tracker.client.updates import Clock, Document, Emission, fields_of
from status_tracker.errors import BacklogError, ConfigError, UnavailableError, UpdateError
from status_tracker.keys import partition_of
from status_tracker.lifecycle import Lifecycle
from status_tracker.models import Status
from status_tracker.text import listed

log: logging.Logger = logging.getLogger(__name__)

MOST = 10_000
"""Reports that are kept: some MB. Those after them are dropped, and that is logged."""

AT_ONCE = 500
"""Reports that are sent at once."""

SENT_WITHIN = 0.2
"""Seconds for which a report is tried again before it is kept: meanwhile the work waits."""

QUIET, QUIET_SHARE = 1.0, 5.0
"""Seconds for which nothing is tried after a failure, and how many times as long as that took: a
server that hangs takes a sixth of the work's time at most."""

PAUSE = 0.05
"""Seconds between two tries at the end."""

MOST_STEPS = 64
"""As many as a kind has phases."""

UNSENT = (UnavailableError, ConfigError, BacklogError)
"""A report that ends in one of these is kept."""


class Entity(Struct, frozen=True):
    """Whom it is about."""

    kind: str
    id: str


class Report(Struct, frozen=True):
    """An update that a reporter has to say."""

    entity: Entity
    fields: Document


class Steps(Struct, frozen=True):
    """Several updates that lead to a phase; which they are, the rules and the status tell."""

    entity: Entity
    phase: str
    attempt: int | None
    times: list[float]
    """Of each step: before those of whatever is said later."""
    retry_reason: str | None = None
    """Why the phase is left and entered again, over a retry; None: it is entered."""

    def updates(self, life: Lifecycle, status: Status | None) -> list[Document]:
        """Return the updates that lead there."""
        if self.retry_reason is None:
            phases = way_to(life, status.phase if status else None, self.phase)
        else:
            phases = way_back(life, self.phase)
            if not phases:
                raise UpdateError(f"phase: no retry leads from {self.phase} back to it", "phase")
        updates = []
        for place, (phase, at) in enumerate(zip(phases, self.times, strict=False), start=1):
            is_way_back = self.retry_reason is not None and place < len(phases)
            updates.append(
                fields_of(
                    self.entity.kind,
                    self.entity.id,
                    phase,
                    attempt=None if is_way_back else self.attempt,
                    error_message=self.retry_reason if is_way_back else None,
                    updated_at=at,
                )
            )
        return updates


class Outbox:
    """Changes of phase in their order, and the newest progress of each entity after its last one.

    Many threads may say something; one of them at a time sends what is there.
    """

    def __init__(
        self,
        emitting: Emitting,
        site: Site,
        retry_for: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock: Clock = emitting.clock
        self._emitting = emitting
        self._site = site
        self._retry_for = retry_for
        self._now = now
        self._begin_empty()

    def _begin_empty(self) -> None:
        self._phases: deque[Report | Steps] = deque()
        self._progress: dict[Entity, Report] = {}
        self._dropped = 0
        self._quiet_until = 0.0
        self._is_away = False
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self._phases) + len(self._progress)

    def say(self, said: Report | Steps, *, is_progress: bool = False) -> Operation[None]:
        """Send a report after those that are kept, or keep it, too."""
        if self._process != os.getpid():
            self._begin_empty()  # what a parent has to say, it says itself
        with self._lock:
            older = self._progress.pop(said.entity, None)
            if len(self) >= MOST:
                self._dropped += older is None
            elif is_progress and isinstance(said, Report):
                self._progress[said.entity] = said
            else:
                self._phases.append(said)
        if self._now() >= self._quiet_until:
            yield from self.flush(SENT_WITHIN)

    def say_strictly(self, said: Report | Steps) -> Operation[None]:
        """Send a report; raises what is in its way."""
        updates = yield from self._updates(said, self._retry_for)
        yield from self._emitting.send((yield from self._emitting.all_checked(updates)))

    def close(self, timeout: float) -> Operation[None]:
        """Send what is kept, within so many seconds; what is left then is lost, and logged."""
        ends = self._now() + timeout
        while self and self._now() < ends:
            yield from self.flush(max(0.0, min(QUIET, ends - self._now())))
            if self:
                yield Pause(min(PAUSE, max(0.0, ends - self._now())))
        if self:
            log.warning(
                "%d reports were never sent",
                len(self),
                extra={"event": "reports_never_sent", "count": len(self)},
            )

    def flush(self, within: float) -> Operation[None]:
        """Send what is kept, unless another thread does so already; stop at the first failure."""
        # Looked at again after the turn: what came meanwhile, nobody else would send.
        while self and self._turn.acquire(blocking=False):
            try:
                if not (yield from self._send_some(within)):
                    return
            finally:
                self._turn.release()

    def _send_some(self, within: float) -> Operation[bool]:
        """Send some of the reports; return whether that succeeded."""
        with self._lock:
            phases = list(islice(self._phases, AT_ONCE))
            progress = [] if phases else list(self._progress.values())[:AT_ONCE]
        began = self._now()
        try:
            emissions = []
            for said in phases or progress:
                emissions += yield from self._acceptable(said, within)
            yield from self._emitting.send(emissions, within)
        except UNSENT as error:
            self._note_failure(error, began)
            return False
        with self._lock:
            for _ in phases:
                self._phases.popleft()
            for said in progress:
                if self._progress.get(said.entity) is said:
                    del self._progress[said.entity]
        self._note_success()
        return True

    def _acceptable(self, said: Report | Steps, within: float) -> Operation[list[Emission]]:
        """Return what is sent of a report; nothing, and a line in the log, where it is refused."""
        try:
            updates = yield from self._updates(said, within)
            return (yield from self._emitting.all_checked(updates))
        except UpdateError as error:
            log.warning(
                "%s %s: not reported: %s",
                said.entity.kind,
                said.entity.id,
                error,
                extra={"event": "report_refused"},
            )
            return []

    def _updates(self, said: Report | Steps, within: float) -> Operation[list[Document]]:
        if isinstance(said, Report):
            return [said.fields]
        kind, entity_id = said.entity.kind, said.entity.id
        deployment = yield from self._site.get()
        life = deployment.rules.kinds.get(kind)
        if life is None:
            deployment = yield from self._site.read()
            life = deployment.rules.kinds.get(kind)
        if life is None:
            raise UpdateError(f"kind: {kind}; must be {listed(deployment.rules.kinds)}", "kind")
        status = None
        if said.retry_reason is None:
            own = deployment.keys.partition(partition_of(entity_id, deployment.partitions))
            try:
                [document] = yield from asked(("MGET", own.status(kind, entity_id)), within)
                status = status_in(document)
            except UnavailableError as error:
                # Where only writing is allowed, it is taken for new.
                if not isinstance(error.__cause__, ResponseError):
                    raise
        return said.updates(life, status)

    def _note_failure(self, error: Exception, began: float) -> None:
        if not self._is_away:
            log.warning(
                "reports are kept until they can be sent: %s",
                error,
                extra={"event": "reports_kept"},
            )
        self._is_away = True
        now = self._now()
        self._quiet_until = now + max(QUIET, QUIET_SHARE * (now - began))

    def _note_success(self) -> None:
        if self._is_away and not self:
            log.info("the reports that were kept are sent", extra={"event": "reports_sent"})
            self._is_away = False
        self._quiet_until = 0.0
        if self._dropped:
            log.warning(
                "%d reports were dropped: over %d were kept",
                self._dropped,
                MOST,
                extra={"event": "reports_dropped", "count": self._dropped},
            )
            self._dropped = 0
