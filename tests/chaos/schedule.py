"""Which faults strike when: a matter of the seed alone."""

import random
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from tests.chaos import faults
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

_OF_SERVER = {
    faults.connections_killed: _AT_ONCE,
    faults.connections_cut: _AT_ONCE,
    faults.reply_swallowed: _FOR_A_WHILE,
    faults.server_killed: _FOR_A_WHILE,
    faults.server_loading: _AT_ONCE,
    faults.server_full: _FOR_A_WHILE,
    faults.server_without_replicas: _FOR_A_WHILE,
    faults.server_read_only: _FOR_A_WHILE,
    faults.server_busy: _FOR_A_WHILE,
    faults.scripts_flushed: _AT_ONCE,
}


def schedule(
    seed: str, workers: int, pace: Pace, seconds: float, *, flush: bool
) -> list[list[Step]]:
    """Return the steps of each of those who do harm: one to the server, one to each worker.

    They do it at the same time, so that most faults meet another one.
    """
    of_server = [_choice(fault, hold) for fault, hold in _OF_SERVER.items()]
    if flush:
        of_server.append(_choice(faults.database_flushed, _AT_ONCE))
    tracks = [_draw(random.Random(f"{seed}/server"), of_server, (0.2, 0.8), seconds)]
    for number in range(workers):
        chance = random.Random(f"{seed}/worker {number}")
        tracks.append(_draw(chance, _of_worker(number, pace), (0.8, 2.4), seconds))
    return tracks


def _of_worker(number: int, pace: Pace) -> list[Choice]:
    ttl = pace.ttl / 1000
    longer_than_a_lease = (ttl + 0.2, ttl + 1)
    holds: list[tuple[faults.WorkerFault, tuple[float, float]]] = [
        *[(faults.worker_killed, _FOR_A_WHILE)] * 4,
        *[(faults.worker_stopped, _FOR_A_WHILE)] * 2,
        (faults.worker_frozen, longer_than_a_lease),
        (faults.worker_held_up, longer_than_a_lease),
    ]
    return [
        Choice(faults.name(fault), partial(fault, number=number), hold) for fault, hold in holds
    ]


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
