"""Adding entries to the streams: checked, in order, once."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from redis.exceptions import ResponseError

from status_tracker.client.operations import (
    Operation,
    Pause,
    Tries,
    asked_all,
    is_lost,
    is_passing,
    pairs,
)
from status_tracker.client.site import Site
from status_tracker.client.updates import (
    Checker,
    Clock,
    Document,
    Emission,
    fields_from,
    numbered,
    process_clock,
)
from status_tracker.connection.client import Command
from status_tracker.decode import invalid_id
from status_tracker.errors import BacklogError, UnavailableError, UpdateError
from status_tracker.keys import GROUP
from status_tracker.metadata import Deployment
from status_tracker.models import Update
from status_tracker.removal import Removal, removals_of
from status_tracker.text import escaped, listed

BATCH = 2_000
"""Updates in one pipeline: more are no faster, and fewer wait more often."""

BATCH_BYTES = 1_048_576
"""Bytes of updates in one pipeline, about."""

REMOVALS = 16
"""Entries that take entities away in one pipeline: each may be as large as an update."""

WAIT_FOR = 1_000
"""Milliseconds that replicas have to say that they have an update."""

LAG_HOLDS = 0.25
"""Seconds for which a partition's backlog is not looked at again, while there is room in it."""

LOOK_EVERY = 0.05
"""Seconds between two looks at a backlog that is too long."""

PAGE, MOST_PAGES = 1_000, 10
"""Entries that are looked at once, and how often, for whether a lost connection had added ours."""

Progressed = Callable[[int], object]
"""Called with how many updates were sent so far."""


class Options(Struct, frozen=True, kw_only=True):
    """What an emitter was given."""

    retry_for: float
    """Seconds for which it tries again where the server cannot be reached."""
    max_backlog: int | None
    backlog_timeout: float
    """Seconds for which it waits while there is a longer backlog."""
    wait_replicas: int


class _Room(Struct):
    """How many entries more a partition may have."""

    left: int
    looked: float


class Emitting:
    """The logic of an emitter."""

    def __init__(self, site: Site, options: Options, clock: Clock = process_clock) -> None:
        self.clock: Clock = clock
        self._site = site
        self._options = options
        self._checker: tuple[Deployment, Checker] | None = None
        self._rooms: dict[int, _Room] = {}
        # The last entry of ours in each stream: whatever is sent from now on comes after it.
        self._last: dict[str, bytes] = {}

    def emit(self, fields: Document) -> Operation[str]:
        """Check an update and add it; return the entry's ID."""
        emission = yield from self.checked(fields)
        [entry_id] = yield from self.send([emission])
        return entry_id

    def emit_many(
        self, updates: Iterable[Update | Mapping[str, Any]], on_progress: Progressed | None
    ) -> Operation[int]:
        """Check and add updates, many at a time; return how many.

        Where one is refused, or the iterable raises, those before it are added.
        """
        sent = 0
        batch: list[Emission] = []
        size = 0
        iterator: Iterator[Update | Mapping[str, Any]] = iter(updates)
        checker = self._checker_of((yield from self._site.get()))
        ended: Exception | None = None
        while ended is None:
            try:
                fields = fields_from(next(iterator), clock=self.clock)
                try:
                    emission = checker.check(fields)
                except UpdateError:
                    emission = yield from self.checked(fields)
                    checker = self._checker_of((yield from self._site.get()))
                batch.append(emission)
                size += len(emission.data)
            except Exception as error:  # noqa: BLE001 - raised below
                ended = error
            if batch and (len(batch) >= BATCH or size >= BATCH_BYTES or ended):
                yield from self.send(batch)
                sent += len(batch)
                batch, size = [], 0
                if on_progress is not None:
                    on_progress(sent)
        if isinstance(ended, UpdateError):
            raise numbered(ended, sent + 1) from None
        if not isinstance(ended, StopIteration):
            raise ended
        return sent

    def checked(self, fields: Document) -> Operation[Emission]:
        """Return what is sent; before one is refused, the rules are read again."""
        deployment = yield from self._site.get()
        try:
            return self._checker_of(deployment).check(fields)
        except UpdateError:
            latest = yield from self._site.read()
            return self._checker_of(latest).check(fields)

    def all_checked(self, updates: Iterable[Document]) -> Operation[list[Emission]]:
        """Return what is sent of several."""
        emissions: list[Emission] = []
        for fields in updates:
            emission = yield from self.checked(fields)
            emissions.append(emission)
        return emissions

    def remove(self, kind: str, ids: Iterable[str]) -> Operation[int]:
        """Check ids, and add the entries that take these entities away; return how many ids."""
        removals = yield from self.removals(kind, ids)
        yield from self.send_removals(removals)
        return sum(len(each.ids) for each in removals)

    def removals(self, kind: str, ids: Iterable[str]) -> Operation[list[Removal]]:
        """Return the entries that take entities away; raises `UpdateError`."""
        if isinstance(ids, str):
            raise TypeError(f"ids: {ids!r} is text, and would be taken for an id a character")
        deployment = yield from self._site.get()
        if kind not in deployment.rules.kinds:
            deployment = yield from self._site.read()
        rules = deployment.rules
        if kind not in rules.kinds:
            raise UpdateError(escaped(f"kind: {kind}; must be {listed(rules.kinds)}"), "kind")
        wanted = list(dict.fromkeys(ids))
        for each in wanted:
            refused = invalid_id(each)
            if refused is not None:
                raise UpdateError(escaped(refused.detail), "id")
        return list(
            removals_of(
                kind,
                wanted,
                partitions=deployment.partitions,
                max_event_bytes=rules.max_event_bytes,
            )
        )

    def send_removals(self, removals: Sequence[Removal]) -> Operation[list[str]]:
        """Add entries that take entities away, each once; return their IDs."""
        yield from self._note_ends({each.partition for each in removals})
        entry_ids: list[str] = []
        for begin in range(0, len(removals), REMOVALS):
            some = removals[begin : begin + REMOVALS]
            entry_ids += yield from self.send(
                [Emission(each.partition, each.data, "remove") for each in some]
            )
        return entry_ids

    def _note_ends(self, numbers: Iterable[int]) -> Operation[None]:
        """Note where the streams end of which no entry of ours is known.

        An earlier removal of the same entities has the same bytes: it must not be found, and taken
        for one that a lost connection did not add.
        """
        keys = (yield from self._site.get()).keys
        streams = [stream for stream in map(keys.events, numbers) if stream not in self._last]
        commands: list[Command] = [
            ("XREVRANGE", stream, "+", "-", "COUNT", 1) for stream in streams
        ]
        try:
            pages = yield from asked_all(commands, self._options.retry_for)
        except UnavailableError as error:
            # Who may only write there cannot look for an entry either.
            if not isinstance(error.__cause__, ResponseError):
                raise
            return
        for stream, page in zip(streams, pages, strict=True):
            self._last.setdefault(stream, page[0][0] if page else b"0-0")

    def _checker_of(self, deployment: Deployment) -> Checker:
        if self._checker is None or self._checker[0] is not deployment:
            self._checker = deployment, Checker(deployment)
        return self._checker[1]

    def send(self, batch: list[Emission], within: float | None = None) -> Operation[list[str]]:
        """Add entries in their order, each once; return their IDs.

        After a lost connection it looks which of them are there, and sends the others. Raises
        `BacklogError`, and `UnavailableError` where the server cannot be used for so long.
        """
        keys = (yield from self._site.get()).keys
        events = {number: keys.events(number) for number in {each.partition for each in batch}}
        if self._options.max_backlog is not None:
            for number, stream in events.items():
                yield from self._await_room(number, stream)
        streams = [events[emission.partition] for emission in batch]
        found: list[bytes | None] = [None] * len(batch)
        before = dict(self._last)  # other threads may move it on while we wait
        tries = Tries(self._options.retry_for if within is None else within)
        # By stream: each has one WAIT, on the connection of what stands before it.
        left = sorted(range(len(batch)), key=streams.__getitem__)
        while left:
            commands, places = self._commands(left, streams, batch)
            replies = yield commands
            errors = [reply for reply in replies if isinstance(reply, Exception)]
            for place, reply in zip(places, replies, strict=True):
                if place is not None and isinstance(reply, bytes):
                    found[place] = self._last[streams[place]] = reply
            if any(found[place] is None for place in left):
                yield tries.again(_worst(errors))
                if any(map(is_lost, errors)):
                    yield from self._look_for(before, left, streams, batch, found)
            else:
                self._check_replicas(replies, places)
            left = [place for place in left if found[place] is None]
        self._take_room(batch)
        return [entry_id.decode() for entry_id in found if entry_id is not None]

    def _commands(
        self, places: list[int], streams: list[str], batch: list[Emission]
    ) -> tuple[list[Command], list[int | None]]:
        """Return the commands that add updates, and which update each of them adds."""
        commands: list[Command] = []
        adds: list[int | None] = []
        replicas = self._options.wait_replicas
        for place, after in zip(places, [*places[1:], -1], strict=True):
            commands.append(("XADD", streams[place], "*", batch[place].field, batch[place].data))
            adds.append(place)
            if replicas and (after < 0 or streams[after] != streams[place]):
                commands.append(("WAIT", replicas, WAIT_FOR))
                adds.append(None)
        return commands, adds

    def _check_replicas(self, replies: list[Any], places: list[int | None]) -> None:
        wanted = self._options.wait_replicas
        for reply, place in zip(replies, places, strict=True):
            if place is not None:
                continue
            if isinstance(reply, Exception):
                raise UnavailableError(f"added, but WAIT failed: {reply}") from reply
            if reply < wanted:
                raise UnavailableError(
                    f"added, but {reply} of {wanted} replicas had it after {WAIT_FOR} ms"
                )

    def _look_for(
        self,
        before: Mapping[str, bytes],
        places: list[int],
        streams: list[str],
        batch: list[Emission],
        found: list[bytes | None],
    ) -> Operation[None]:
        """Find out which entries were added though the connection was lost, and note their IDs.

        Two updates of the same entity that are both added again could be steps back and forth.
        """
        wanted: dict[str, dict[tuple[bytes, ...], int]] = defaultdict(dict)
        for place in places:
            if found[place] is None:
                each = batch[place]
                wanted[streams[place]][each.field.encode(), each.data] = place
        for stream, of_stream in wanted.items():
            begin = b"(" + before[stream] if stream in before else b"-"
            end: str | bytes = "+"
            for _ in range(MOST_PAGES):
                [page] = yield [("XREVRANGE", stream, end, begin, "COUNT", PAGE)]
                if isinstance(page, Exception):
                    break  # it cannot be known: sent again, it is a duplicate or stale
                for entry_id, values in page:
                    place = of_stream.pop(tuple(values), -1)
                    if place >= 0:
                        found[place] = entry_id
                if len(page) < PAGE or not of_stream:
                    break
                end = b"(" + page[-1][0]

    def _await_room(self, number: int, stream: str) -> Operation[None]:
        """Wait until a partition's backlog has room; raises `BacklogError`."""
        most = self._options.max_backlog or 0
        ends = time.monotonic() + self._options.backlog_timeout
        room = self._rooms.get(number)
        if room is not None and room.left > 0 and time.monotonic() - room.looked < LAG_HOLDS:
            return
        while True:
            [groups] = yield [("XINFO", "GROUPS", stream)]
            unread = unread_of(groups)
            self._rooms[number] = _Room(most - unread, time.monotonic())
            if unread < most:
                return
            if time.monotonic() >= ends:
                raise BacklogError(
                    f"{stream} has {unread:,} unread entries, and max_backlog is {most:,}: "
                    "the workers are behind"
                )
            yield Pause(LOOK_EVERY)

    def _take_room(self, batch: list[Emission]) -> None:
        if self._rooms:
            for emission in batch:
                room = self._rooms.get(emission.partition)
                if room is not None:
                    room.left -= 1


def unread_of(groups: Any) -> int:
    """Return how many entries the workers have not read, from XINFO GROUPS; 0 if nobody knows."""
    if isinstance(groups, Exception):
        return 0  # no stream yet, or the server is away: sending finds out
    for group in map(pairs, groups):
        if group[b"name"] == GROUP.encode():
            return int(group.get(b"lag") or 0)
    return 0


def _worst(errors: list[Exception]) -> Exception:
    """Return the error that decides whether it is tried again."""
    lasting = [error for error in errors if not (is_lost(error) or is_passing(error))]
    return (lasting or errors)[0]
