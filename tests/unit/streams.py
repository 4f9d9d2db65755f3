"""Random streams of updates: mostly plausible lives, with the disorder that real producers make.

A stream is made from a list of small random intents, which hypothesis can shrink one by one. The
model runs along while it is made, so that a step goes on from the phase the entity is really in.
"""

import json
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tests.model import Entity, Model, Outcome
from tests.unit.deployments import DEPLOYMENTS, Deployment, following
from tests.wire import Document

START = 1_700_000_000_000

# "a" is at home in partition 1 of 2, the others in partition 0; every kind has all of them.
IDS = ["é/✓", "d", "a"]

GARBAGE = [
    None,
    b"",
    b"hello",
    b"\xff\xfe",
    b"[]",
    b'{"kind":"task"}',
    b'{"kind":"task","id":"a","phase":"done","updatedAt":1700000000000}',
    b'{"kind":"asset","id":"d","phase":"running","updatedAt":1700000000000}',
    b'{"kind":"task","id":"a b","phase":"pending","updatedAt":1700000000000}',
    b'{"kind":"task","id":"a","phase":"pending","updatedAt":1700000000}',
    b'{"kind":"events","id":"d","phase":"on","updatedAt":1700000000000}',
    b'{"kind":"task","id":"a","errorMessage":"' + b"x" * 65_536 + b'"}',
]

# Often on time; then just inside and outside of what rules 3 and 6 allow; and in fractions.
SKEWS = [*[0] * 30, -1, -1, -400, -999, -1_000, -1_001, -9_000, 60_000, 60_001, 0.5, -0.25]


Fields = dict[str, object]

# What else an update may carry; numbers in both forms.
EXTRAS = [
    *[Fields()] * 6,
    *[Fields(progress=progress) for progress in (0, 0.0, 0.25, 0.5, 0.5, 0.75, 1, 1.0)],
    *[Fields(errorMessage=message) for message in ("", "bang", "bang", "é")],
    Fields(errorMessage="bang", progress=0.5),
    Fields(errorMessage=None, progress=None, retries=9),
    Fields(restart=True),
    Fields(restart=True, progress=0.25, errorMessage="again"),
    Fields(force=False, attempt=None),
]

# How far an update's attempt is from that of the status; None is an update without one.
ATTEMPTS = [*[None] * 6, *[0] * 6, 1, 1, -1, -9]


class Event(NamedTuple):
    """One entry of a stream."""

    id: str
    data: bytes | None
    removes: bool = False
    """Whether that is the value of `remove`, and not of `data`."""

    def feed(self, model: Model) -> Outcome:
        """Have the model take it as the next entry of partition 0."""
        if self.removes:
            return model.remove(0, self.id, self.data or b"")
        return model.apply(0, self.id, self.data)

    @property
    def received(self) -> int:
        """When the stream took it."""
        return int(self.id.partition("-")[0])


class Intent(NamedTuple):
    """What a producer does next, before it is known what state it finds."""

    kind: int
    id: str
    action: str
    choice: int
    pause: int
    skew: float
    attempt: int | None
    extras: Fields


class Scene(NamedTuple):
    """A stream, and the deployment that it is made for."""

    deployment: Deployment
    stream: list[Event]


ACTIONS = ["step"] * 12 + ["tick"] * 3 + ["echo", "repeat", "repeat", "jump", "jump", "garbage"]


def _intents(actions: list[str]) -> st.SearchStrategy[Intent]:
    # Few draws, each from a list: that keeps long streams quick to make, and to shrink.
    return st.builds(
        Intent,
        kind=st.integers(0, 5),
        id=st.sampled_from(IDS),
        action=st.sampled_from(actions),
        choice=st.integers(0, 11),
        pause=st.sampled_from([1, 1, 0, 20, 1_000, 5_000]),
        skew=st.sampled_from(SKEWS),
        attempt=st.sampled_from(ATTEMPTS),
        extras=st.sampled_from(EXTRAS),
    )


def trials(count: int) -> settings:
    """Return how a property of streams is tried: all but the explaining, which takes minutes."""
    phases = [phase for phase in Phase if phase is not Phase.explain]
    busy = [HealthCheck.too_slow, HealthCheck.data_too_large]  # long streams are meant to be long
    return settings(max_examples=count, deadline=None, phases=phases, suppress_health_check=busy)


# Many short lists make a long one that still shrinks to nothing: it takes long streams to come to
# the end of a life, such as the last retry.
_UNFORCED = st.tuples(*[st.lists(_intents(ACTIONS), max_size=20)] * 16)
_REMOVED = st.tuples(
    *[st.lists(_intents([*ACTIONS, "force", "remove", "remove"]), max_size=20)] * 16
)
_FORCED = st.tuples(*[st.lists(_intents([*ACTIONS, "force", "force"]), max_size=20)] * 16)


def scenes(
    deployments: st.SearchStrategy[Deployment] = DEPLOYMENTS,
    *,
    partitions: int = 1,
    forced: bool = True,
    removed: bool = False,
) -> st.SearchStrategy[Scene]:
    """Return a strategy for the stream of partition 0; with more partitions, it is misused too.

    Without `forced`, no update has `force`; with `removed`, some entries take entities away.
    """
    chapters = _REMOVED if removed else _FORCED if forced else _UNFORCED
    return st.builds(
        lambda deployment, chapters: Scene(
            deployment, _stream(chain.from_iterable(chapters), deployment.kinds, partitions)
        ),
        deployments,
        chapters,
    )


def _stream(intents: Iterable[Intent], kinds: dict[str, Document], partitions: int) -> list[Event]:
    model = Model(partitions, kinds=kinds)
    sent: dict[Entity, list[bytes]] = {}
    events: list[Event] = []
    now = START
    for number, intent in enumerate(intents):
        now += intent.pause
        entity = ([*kinds][intent.kind % len(kinds)], intent.id)
        earlier = sent.setdefault(entity, [])
        data: bytes | None
        if intent.action == "remove":
            events.append(Event(f"{now}-{number}", _removal(intent, entity, model), removes=True))
            events[-1].feed(model)
            continue
        if intent.action == "garbage":
            data = GARBAGE[intent.choice % len(GARBAGE)]
        elif intent.action == "repeat" and earlier:
            data = earlier[-1 - intent.choice % len(earlier)]
        else:
            data = _update(intent, entity, model, now)
            earlier.append(data)
        events.append(Event(f"{now}-{number}", data))
        events[-1].feed(model)
    return events


def _removal(intent: Intent, entity: Entity, model: Model) -> bytes:
    """Name an entity, or two: with what its status has, with something else, or without."""
    status = model.statuses.get(entity, {"updatedAt": START, "phase": "on"})
    other = [entity[0], IDS[intent.choice % len(IDS)]]
    conditions = [[], [status["updatedAt"], status["phase"]], [START, status["phase"]], [START]]
    wanted = [[*entity, *conditions[intent.choice % 4]], other]
    return json.dumps(wanted[: 1 + intent.choice // 4 % 2]).encode()


def _update(intent: Intent, entity: Entity, model: Model, now: int) -> bytes:
    kind, entity_id = entity
    at = now + intent.skew
    status = model.statuses.get(entity, {})
    if intent.action == "echo" and status:  # as old as the status, in another form
        at = float(status["updatedAt"])
    phase = _phase(intent, model.kinds[kind], status.get("phase"))
    update = {"kind": kind, "id": entity_id, "phase": phase, "updatedAt": at, **intent.extras}
    if intent.attempt is not None:
        update["attempt"] = status.get("attempt", 1) + intent.attempt
    if intent.action == "force":
        update["force"] = True
    return json.dumps(update).encode()


def _phase(intent: Intent, table: Document, phase: str | None) -> str:
    """Choose a phase: one that may follow, the same, or any."""
    choices: list[str] = table["phases"]
    if intent.action in ("jump", "force"):
        pass
    elif phase is None:
        choices = table["initial"]
    elif intent.action == "tick" or (intent.action == "echo" and intent.choice % 2):
        return phase
    else:
        choices = following(table, phase) or [phase]
    return choices[intent.choice % len(choices)]
