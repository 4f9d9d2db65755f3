"""Celery's event state: `celery_peer.py drain|latency|memory URL EVENTS [RATE]`.

Celery folds the events of its workers into `celery.events.state.State`, which Flower and
`celery events` show. `drain` and `latency` take them from a Redis broker; `memory` calls
`State.event` with events that are already there, the best that any way of receiving could come to.

Redis carries Celery's events by PUBLISH: there is no backlog, so `drain` lets a sender publish
everything, in lists as Celery's workers do, before the receiver goes on from the first event.

Runs in the peers' environment; prints one JSON line.
"""

import gc
import json
import multiprocessing
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from celery import Celery
from celery.events.state import State
from kombu.exceptions import OperationalError

Event = dict[str, Any]

STEPS = ["task-sent", "task-received", "task-started", "task-succeeded"]
IN_FLIGHT = 2_000

WARM_UP = 100
"""Events whose latency does not count."""

QUIET_FOR = 10.0
"""Seconds without an event after which the others are lost."""


def events(count: int) -> Iterator[tuple[str, Event]]:
    """Yield types and fields as Celery's workers send them, of tasks that move on at random."""
    random.seed(1)
    flight = [(_new_id(), 0) for _ in range(IN_FLIGHT)]
    for _ in range(count):
        place = random.randrange(IN_FLIGHT)
        task, step = flight[place]
        yield STEPS[step], _fields(STEPS[step], task)
        done = step + 1 == len(STEPS)
        flight[place] = (_new_id(), 0) if done else (task, step + 1)


def _new_id() -> str:
    return str(uuid.UUID(int=random.getrandbits(128)))


def _fields(kind: str, task: str) -> Event:
    if kind in {"task-sent", "task-received"}:
        call = {"name": "video.export", "args": "()", "kwargs": "{}", "retries": 0}
        return {"uuid": task, **call, "root_id": task, "parent_id": None}
    if kind == "task-succeeded":
        return {"uuid": task, "result": "None", "runtime": 1.5}
    return {"uuid": task}


def memory(_url: str, count: int) -> Event:
    """Feed the state in memory."""
    state = State()
    ready = []
    for clock, (kind, fields) in enumerate(events(count), start=1):
        now = time.time()
        origin = {"hostname": "one@host", "pid": 1, "clock": clock, "utcoffset": 0}
        ready.append({**fields, **origin, "type": kind, "timestamp": now, "local_received": now})
    # Nor may the collector go through the waiting events again and again.
    gc.freeze()
    began = time.perf_counter()
    for event in ready:
        state.event(event)
    return {"rate": count / (time.perf_counter() - began)}


def drain(url: str, count: int) -> Event:
    """Receive all that was published, and fold it."""
    state = State()
    sender = _sender(_publish, url, count)
    began = 0.0

    def take(event: Event) -> bool:
        nonlocal began
        if not began:
            sender.join()
            began = time.perf_counter()
        state.event(event)
        return int(state.event_count) == count

    _receive(url, sender, take)
    return {"rate": count / (time.perf_counter() - began)}


def latency(url: str, count: int, rate: int) -> Event:
    """Take the ms from sending each event to the state showing it."""
    state = State()
    took: list[float] = []

    def take(event: Event) -> bool:
        state.event(event)
        took.append((time.perf_counter() - event["sent_at"]) * 1000)
        return len(took) == count

    count += WARM_UP
    _receive(url, _sender(_publish_steadily, url, count, rate), take)
    # The first ones pay for the connections, as they do not in the tracker's latency.
    took = sorted(took[WARM_UP:])
    return {"p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)]}


def _sender(publish: Callable[..., None], *arguments: object) -> Any:
    return multiprocessing.get_context("spawn").Process(target=publish, args=arguments, daemon=True)


def _receive(url: str, sender: Any, take: Callable[[Event], bool]) -> None:
    """Receive until `take` has had all; raises `TimeoutError` where events are lost."""
    app = Celery("bench", broker=url, set_as_current=False)

    def received(event: Event) -> None:
        receiver.should_stop = take(event)

    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": received})
        with receiver.consumer_context(wakeup=False) as (receiving, *_):
            # The first call subscribes. What is sent before that is lost.
            with suppress(TimeoutError):
                receiving.drain_events(timeout=0.2)
            sender.start()
            while not receiver.should_stop:
                receiving.drain_events(timeout=QUIET_FOR)
    sender.join()


def _publish(url: str, count: int) -> None:
    app = Celery("bench", broker=url, set_as_current=False)
    with (
        app.connection_for_write() as connection,
        app.events.Dispatcher(connection, hostname="one@host", buffer_group={"task"}) as dispatcher,
    ):
        for kind, fields in events(count):
            dispatcher.send(kind, **fields)
        dispatcher.flush()


def _publish_steadily(url: str, count: int, rate: int) -> None:
    app = Celery("bench", broker=url, set_as_current=False)
    with (
        app.connection_for_write() as connection,
        app.events.Dispatcher(connection, hostname="one@host") as dispatcher,
    ):
        began = time.perf_counter()
        for number, (kind, fields) in enumerate(events(count)):
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            # The clock of `perf_counter` is one for all processes of a machine.
            dispatcher.send(kind, sent_at=time.perf_counter(), **fields)


if __name__ == "__main__":
    modes: dict[str, Callable[..., Event]] = {"drain": drain, "latency": latency, "memory": memory}
    mode, server, *numbers = sys.argv[1:]
    try:
        figures = modes[mode](server, *map(int, numbers))
    except (TimeoutError, OperationalError) as error:
        sys.exit(f"Celery lost events: {error}")
    print(json.dumps(figures))
