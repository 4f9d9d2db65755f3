"""Which faults strike when: a matter of the seed alone."""

import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from tests.chaos import faults
from tests.chaos.sites import Layout
from tests.chaos.system import Pace


class Choice(NamedTuple):
    """A fault that may be drawn."""

    name: str
    fault: faults.ServerFault
    hold: tuple[float, float]
    """Seconds that it lasts, at least and at most."""


class Step(NamedTuple):
    """A fault that was drawn; times in seconds."""

    name: str
    fault: faults.ServerFault
    pause: float
    """How long nothing is done before it."""
    hold: float


KILLS = ("worker killed", "server killed", "server loading")

# What is over in a moment is still given time to be felt before the next one.
_AT_ONCE = (0.1, 0.2)
_FOR_A_WHILE = (0.1, 0.5)

_Holds = dict[faults.ServerFault, tuple[float, float]]

_OF_SERVER: _Holds = {
    faults.connections_killed: _AT_ONCE,
    faults.connections_cut: _AT_ONCE,
    faults.reply_swallowed: _FOR_A_WHILE,
    faults.server_killed: _FOR_A_WHILE,
    faults.server_full: _FOR_A_WHILE,
    faults.server_without_replicas: _FOR_A_WHILE,
    faults.server_busy: _FOR_A_WHILE,
    faults.scripts_flushed: _AT_ONCE,
    faults.groups_destroyed: _AT_ONCE,
}
# A node of a cluster has no other database to load, and REPLICAOF is not for it.
_OF_ONE_SERVER: _Holds = {
    faults.server_loading: _AT_ONCE,
    faults.server_read_only: _FOR_A_WHILE,
}
# With `single` a forward is part of the commit.
_OF_FORWARDS: _Holds = {faults.forwarding_swallowed: _FOR_A_WHILE}
_OF_LAYOUT: dict[Layout, _Holds] = {
    "single": _OF_ONE_SERVER,
    "cluster": _OF_ONE_SERVER | _OF_FORWARDS,
    "masters": _OF_FORWARDS | {faults.master_replaced: _AT_ONCE, faults.slot_moved: _AT_ONCE},
}


_GOES = {"worker killed": 4, "worker stopped": 2}
"""How often a worker goes for each time that it is only away."""


def of_server(layout: Layout) -> _Holds:
    """Return the faults that strike a server, but for a flush, and for how long each one lasts."""
    return _OF_SERVER | _OF_LAYOUT[layout]


def of_worker(layout: Layout) -> Iterator[faults.WorkerFault]:
    """Yield the faults that strike a worker."""
    yield faults.worker_killed
    yield faults.worker_stopped
    yield faults.worker_frozen
    if layout != "masters":  # whose ways are everybody's
        yield faults.worker_held_up


def schedule(
    seed: str, workers: int, pace: Pace, seconds: float, layout: Layout, *, flush: bool
) -> list[list[Step]]:
    """Return the steps of each of those who do harm: one to the server, one to each worker.

    They do it at the same time, so that most faults meet another one.
    """
    choices = [_choice(fault, hold) for fault, hold in of_server(layout).items()]
    if flush:
        choices.append(_choice(faults.database_flushed, _AT_ONCE))
    tracks = [_draw(random.Random(f"{seed}/server"), choices, (0.2, 0.8), seconds)]
    for number in range(workers):
        chance = random.Random(f"{seed}/worker {number}")
        tracks.append(_draw(chance, _of_worker(number, pace, layout), (0.8, 2.4), seconds))
    return tracks


def _of_worker(number: int, pace: Pace, layout: Layout) -> list[Choice]:
    ttl = pace.ttl / 1000
    longer_than_a_lease = (ttl + 0.2, ttl + 1)
    choices = []
    for fault in of_worker(layout):
        name = faults.name(fault)
        times = _GOES.get(name, 1)
        hold = _FOR_A_WHILE if name in _GOES else longer_than_a_lease
        choices += [Choice(name, partial(fault, number=number), hold)] * times
    return choices


def _choice(fault: faults.ServerFault, hold: tuple[float, float]) -> Choice:
    return Choice(faults.name(fault), fault, hold)


def _draw(
    chance: random.Random,
    choices: Sequence[Choice],
    pauses: tuple[float, float],
    seconds: float,
) -> list[Step]:
    """Draw steps for so many seconds: each choice once before any comes again."""
    steps: list[Step] = []
    left = seconds
    while True:
        for choice in chance.sample(choices, len(choices)):
            step = Step(
                choice.name, choice.fault, chance.uniform(*pauses), chance.uniform(*choice.hold)
            )
            left -= step.pause + step.hold
            if left < 0:
                return steps
            steps.append(step)
