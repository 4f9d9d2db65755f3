"""What producers send by mistake, and the tracker has to keep out."""

import asyncio
from collections.abc import Callable

from status_tracker.demo.luck import Luck
from status_tracker.demo.streams import Streams, Update, now

EVERY = 0.7
"""Seconds between two mistakes, on average."""


async def make_mistakes(streams: Streams, luck: Luck) -> None:
    """Spoil an update that was sent lately and send it again, now and then, until cancelled."""
    while True:
        await asyncio.sleep(luck.expovariate(1 / EVERY))
        phase, spoil = luck.choice(MISTAKES)
        updates = [update for update in streams.lately if phase in (None, update["phase"])]
        if updates:
            update = luck.choice(updates)
            spoilt = spoil(update)
            if isinstance(spoilt, str):
                await streams.add(str(update["id"]), spoilt.encode())
            else:
                await streams.send(spoilt)


def _sent_again(update: Update) -> Update:
    return update


def _words(update: Update) -> str:
    return f"{update['id']} is {update['phase']}"


def _seconds(update: Update) -> Update:
    return {**update, "updatedAt": now() // 1000}


def _clock_ahead(update: Update) -> Update:
    return {**update, "updatedAt": now() + 10 * 60 * 1000}


def _percent(update: Update) -> Update:
    return {**update, "progress": 47, "updatedAt": now()}


def _unknown_phase(update: Update) -> Update:
    return {**update, "phase": "encoding", "updatedAt": now()}


def _never_announced(update: Update) -> Update:
    return {**update, "id": f"{update['id']}-2160p", "updatedAt": now()}


def _completed_but_running(update: Update) -> Update:
    return {**update, "phase": "running", "updatedAt": now()}


MISTAKES: list[tuple[str | None, Callable[[Update], Update | str]]] = [
    (None, _sent_again),
    ("completed", _sent_again),
    (None, _words),
    (None, _seconds),
    (None, _clock_ahead),
    (None, _percent),
    (None, _unknown_phase),
    ("running", _never_announced),
    ("completed", _completed_but_running),
]
"""How an update is spoilt, and the phase it has to be in for that, if any."""
