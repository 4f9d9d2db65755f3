"""Following the change feed, and waiting for an entity by it."""

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from msgspec import Struct

from status_tracker.client.documents import status_of
from status_tracker.client.feed import (
    Event,
    Place,
    Removal,
    next_events,
    places_of,
    token_of,
)
from status_tracker.client.operations import (
    Background,
    Inbox,
    Operation,
    Pause,
    Receive,
    Shell,
    Tail,
)
from status_tracker.client.reading import Reading
from status_tracker.errors import FeedGapError, UnavailableError
from status_tracker.models import Change, Status

log: logging.Logger = logging.getLogger(__name__)

FOREVER = float("inf")

REFUSED_FOR = 1.0
"""Seconds until a feed that the server refuses to tell is asked for again."""


class FeedEvent(Struct, frozen=True):
    """One change of phase, or removal, of an entity."""

    kind: str
    id: str
    change: Change | None
    """The status as it stood after it, with `from_phase`, `event` and `forced`; None: removed."""
    token: str
    """For `changes(after=token)`, to go on after it."""

    @property
    def status(self) -> Status | None:
        """The status as it stood after it; None where the entity was removed."""
        return None if self.change is None else status_of(self.change)


class Changes:
    """The change feed from a place on."""

    def __init__(self, shell: Shell, reading: Reading, after: str | None) -> None:
        self._shell = shell
        self._reading = reading
        self._after = after
        self._tail: Tail | None = None
        self._read: dict[str, Place] = {}
        self._told: dict[str, Place] = {}

    def next(self) -> Operation[list[FeedEvent]]:
        """Wait for what changed; nothing where it was quiet for a while."""
        if not self._read:
            if self._after is None:
                self._read = yield from self._reading.feed_ends(FOREVER)
            else:
                self._read = places_of(self._after, (yield from self._reading.feed()))
            self._told = dict(self._read)
        if self._tail is None:
            self._tail = self._shell.tail()
        events = yield from next_events(self._tail, self._read)
        return list(map(self._told_of, events))

    def close(self) -> None:
        """Close the connections that wait."""
        if self._tail is not None:
            self._tail.close()

    def _told_of(self, event: Event) -> FeedEvent:
        self._told[event.stream] = event.place
        what = event.what
        change = what if isinstance(what, Change) else None
        return FeedEvent(what.kind, what.id, change, token_of(self._told.values()))


class _Look:
    """Look at the key: changes may have been missed."""


Told = Change | Removal | _Look


class _Watcher(Struct, frozen=True, eq=False):
    """Somebody who waits for an entity."""

    entity: tuple[str, str]
    inbox: Inbox


class Hub:
    """Follows the feed for all who wait; nobody does so when nobody waits."""

    def __init__(
        self, shell: Shell, reading: Reading, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._shell = shell
        self._reading = reading
        self._now = now
        self._begin_empty()

    def _begin_empty(self) -> None:
        self._watchers: dict[tuple[str, str], set[_Watcher]] = defaultdict(set)
        self._following: tuple[Background, Tail] | None = None
        self._lock = threading.Lock()
        self._process = os.getpid()

    def wait(
        self, kind: str, entity_id: str, until: str | Iterable[str], timeout: float | None
    ) -> Operation[Status]:
        """Return the status as soon as its phase is one that is waited for."""
        ends = FOREVER if timeout is None else self._now() + timeout
        phases = yield from self._reading.ends_of_wait(kind, until)
        watcher = self._join(kind, entity_id)
        try:
            # It follows from before it looks: what comes in between is told.
            if timeout is None or timeout > 0:
                yield from self._follow(ends)
            status = yield from self._reading.get(kind, entity_id, self._left(ends))
            while status is None or status.phase not in phases:
                told = None
                if self._now() < ends:
                    seconds = None if timeout is None else ends - self._now()
                    told = yield Receive(watcher.inbox, seconds)
                if told is None:
                    at = status.phase if status else "without a status"
                    raise TimeoutError(f"{kind} {entity_id} is {at} after {timeout:g} s")
                if isinstance(told, _Look):
                    status = yield from self._reading.get(kind, entity_id, self._left(ends))
                else:
                    status = status_of(told) if isinstance(told, Change) else None
            return status
        finally:
            self._leave(watcher)

    def close(self) -> None:
        """Follow no more."""
        with self._lock:
            self._stop()

    def _is_followed(self) -> bool:
        return self._following is not None

    def _left(self, ends: float) -> float:
        return max(0.0, ends - self._now())

    def _join(self, kind: str, entity_id: str) -> _Watcher:
        if self._process != os.getpid():
            self._begin_empty()  # the parent's thread is not here
        watcher = _Watcher((kind, entity_id), self._shell.inbox())
        with self._lock:
            self._watchers[watcher.entity].add(watcher)
        return watcher

    def _leave(self, watcher: _Watcher) -> None:
        with self._lock:
            others = self._watchers[watcher.entity]
            others.discard(watcher)
            if not others:
                del self._watchers[watcher.entity]
            if not self._watchers:
                self._stop()

    def _stop(self) -> None:
        if self._following is not None:
            background, tail = self._following
            self._following = None
            background.stop()
            tail.close()

    def _follow(self, ends: float) -> Operation[None]:
        """See to it that the feed is followed.

        Whoever finds that it is so already was noted before he looks, so what is read from then on
        is told; what was read before is in the key.
        """
        if not self._is_followed():
            places = yield from self._reading.feed_ends(self._left(ends))
            with self._lock:
                # Everybody may have left meanwhile, and another have come to it first.
                if not self._is_followed() and self._watchers:
                    tail = self._shell.tail()
                    work = self._tell_on(tail, places)
                    self._following = self._shell.spawn(work, "change feed"), tail

    def _tell_on(self, tail: Tail, places: dict[str, Place]) -> Operation[None]:
        while True:
            try:
                events = yield from next_events(tail, places)
            except FeedGapError:
                places = yield from self._reading.feed_ends(FOREVER)
                self._tell_all()
                continue
            except UnavailableError as error:
                log.warning(
                    "the change feed cannot be followed; looking at the keys: %s",
                    error,
                    extra={"event": "feed_unavailable"},
                )
                yield Pause(REFUSED_FOR)
                self._tell_all()
                continue
            for event in events:
                self._tell(event.what)

    def _tell(self, what: Change | Removal) -> None:
        with self._lock:
            for watcher in self._watchers.get((what.kind, what.id), ()):
                watcher.inbox.put_nowait(what)

    def _tell_all(self) -> None:
        with self._lock:
            for watchers in self._watchers.values():
                for watcher in watchers:
                    watcher.inbox.put_nowait(_Look())
