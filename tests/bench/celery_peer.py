"""Celery's event state: `python -m tests.bench.celery_peer URL EVENTS RATE` prints a line of JSON.

Celery folds the events of its workers into `celery.events.state.State`, which Flower and
`celery events` show; here it takes them from a Redis broker. Redis carries them by PUBLISH: there
is no backlog. So at a rate of 0, for the throughput, a sender publishes everything, in lists as
Celery's workers do, before the receiver goes on from the first event. At another rate it is the
latency that is measured, from sending an event to the state showing it.

Runs in the peers' environment, and imports nothing of this project.
"""

import json
import multiprocessing
import random
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from celery import Celery
from celery.events.state import State
from kombu.exceptions import OperationalError

Event = dict[str, Any]

CALL = {"name": "video.export", "args": "()", "kwargs": "{}", "retries": 0, "parent_id": None}
STEPS: list[tuple[str, Event]] = [
    ("task-sent", CALL),
    ("task-received", CALL),
    ("task-started", {}),
    ("task-succeeded", {"result": "None", "runtime": 1.5}),
]
IN_FLIGHT = 2_000

WARM_UP = 100
"""Events whose latency does not count: they pay for the connections."""

QUIET_FOR = 10.0
"""Seconds without an event after which the others are lost."""


def events(count: int) -> Iterator[tuple[str, Event]]:
    """Yield types and fields as Celery's workers send them, of tasks that move on at random."""
    random.seed(1)
    flight = [(_new_id(), 0) for _ in range(IN_FLIGHT)]
    for _ in range(count):
        place = random.randrange(IN_FLIGHT)
        task, step = flight[place]
        kind, fields = STEPS[step]
        yield kind, {"uuid": task, "root_id": task, **fields}
        done = step + 1 == len(STEPS)
        flight[place] = (_new_id(), 0) if done else (task, step + 1)


def _new_id() -> str:
    return str(uuid.UUID(int=random.getrandbits(128)))


def publish(url: str, count: int, rate: int) -> None:
    """Send events, in a process of its own."""
    app = Celery("bench", broker=url, set_as_current=False)
    lists = {} if rate else {"buffer_group": {"task"}}
    with (
        app.connection_for_write() as connection,
        app.events.Dispatcher(connection, hostname="one@host", **lists) as dispatcher,
    ):
        began = time.perf_counter()
        for number, (kind, fields) in enumerate(events(count)):
            if rate:
                time.sleep(max(0.0, began + number / rate - time.perf_counter()))
                # The clock of `perf_counter` is one for all processes of a machine.
                fields["sent_at"] = time.perf_counter()
            dispatcher.send(kind, **fields)
        dispatcher.flush()


def receive(url: str, count: int, rate: int) -> Event:
    """Fold all events; raises `TimeoutError` where some are lost."""
    app = Celery("bench", broker=url, set_as_current=False)
    state = State()
    took: list[float] = []
    began = 0.0
    spawn = multiprocessing.get_context("spawn")
    sender = spawn.Process(target=publish, args=(url, count, rate), daemon=True)

    def received(event: Event) -> None:
        nonlocal began
        if not began:
            if not rate:
                sender.join()
            began = time.perf_counter()
        state.event(event)
        if rate:
            took.append((time.perf_counter() - event["sent_at"]) * 1000)
        receiver.should_stop = state.event_count == count

    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": received})
        with receiver.consumer_context(wakeup=False) as (receiving, *_):
            # The first call subscribes. What is sent before that is lost.
            with suppress(TimeoutError):
                receiving.drain_events(timeout=0.2)
            sender.start()
            while not receiver.should_stop:
                receiving.drain_events(timeout=QUIET_FOR)
    ended = time.perf_counter()
    sender.join()
    took = sorted(took[WARM_UP:])
    if rate:
        return {"p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)]}
    return {"rate": count / (ended - began)}


if __name__ == "__main__":
    server, number, pace = sys.argv[1:]
    try:
        print(json.dumps(receive(server, int(number) + WARM_UP * (pace != "0"), int(pace))))
    except (TimeoutError, OperationalError) as error:
        sys.exit(f"Celery lost events: {error}")
