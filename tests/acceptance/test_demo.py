"""`status-tracker demo` as a user runs it: in a pipe, on a terminal, and ended in many ways."""

import asyncio
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from status_tracker import AsyncEmitter
from status_tracker.demo import _connect
from status_tracker.demo.streams import Streams
from status_tracker.embedded import embedded_server
from status_tracker.errors import EXIT_CONFIG
from status_tracker.keys import Keys

from tests.servers import wait_until

COMMAND = [sys.executable, "-m", "status_tracker", "demo"]
DEADLINE = 30.0
"""Seconds after which a demo counts as hanging."""

ROWS, COLUMNS = 24, 80


@contextmanager
def running_demo() -> Iterator[subprocess.Popen[str]]:
    """Start a demo whose output is read line by line; it is killed when it hangs."""
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(DEADLINE, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            watchdog.join()
            process.terminate()


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """Read lines until one matches, and return what the pattern's group holds."""
    assert process.stdout is not None
    for line in process.stdout:
        match = re.search(pattern, line)
        if match:
            return match[1]
    assert process.stderr is not None
    raise AssertionError(f"no line matches {pattern}; stderr: {process.stderr.read()}")


def number(pattern: str, text: str) -> int:
    """Return the number that the pattern's group holds, 0 where it does not match."""
    match = re.search(pattern, text, re.MULTILINE)
    return int(match[1].replace(",", "")) if match else 0


def on_a_terminal(*options: str) -> tuple[int, str]:
    """Run a demo on a terminal; return its exit code and all it wrote."""
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (ROWS, COLUMNS))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        environment.pop(name, None)
    written = bytearray()
    deadline = time.monotonic() + DEADLINE
    with subprocess.Popen(
        [*COMMAND, *options], stdin=inside, stdout=inside, stderr=inside, env=environment
    ) as process:
        os.close(inside)
        while select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:  # how Linux says that nobody holds the terminal any more
                break
            if not chunk:
                break
            written += chunk
        else:
            process.kill()
        os.close(terminal)
    return process.returncode, written.decode()


def test_ends_by_itself_and_accounts_for_every_event() -> None:
    """Without a terminal: a line per second, then a summary in which no event is missing."""
    demo = subprocess.run(
        [*COMMAND, "--seconds", "3"], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (demo.returncode, demo.stderr) == (0, "")
    assert re.search(r"^\d s  [1-9]\d* events/s  tasks: .*  assets: ", demo.stdout, re.MULTILINE)
    assert number(r"^tasks: .*?([\d,]+) completed", demo.stdout) > 0
    read = number(r"^\d s: ([\d,]+) events in", demo.stdout)
    outcomes = ("applied", "duplicates", "forwarded", "rejected")
    ended = [number(rf"^\d s: .* ([\d,]+) {outcome}", demo.stdout) for outcome in outcomes]
    assert ended[0] > 0
    assert sum(ended) == read


def test_ctrl_c_ends_everything() -> None:
    """Ctrl-C ends it with exit code 0 and a summary, and leaves no server behind."""
    with running_demo() as demo:
        url = urlsplit(read_until(demo, r"(redis://\S+)"))
        read_until(demo, r" ([1-9]\d*) events/s")
        demo.send_signal(signal.SIGINT)
        began = time.monotonic()
        output, errors = demo.communicate()
    assert (demo.returncode, errors) == (0, "")
    assert time.monotonic() - began < 10
    assert number(r"([\d,]+) events in: ", output) > 0
    assert url.hostname
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((url.hostname, url.port or 0))


def test_keeps_histories() -> None:
    """Whoever looks at the demo's keys finds what became of an entity, newest first."""
    keys = Keys("status", "single").partition(0)
    with running_demo() as demo:
        url = read_until(demo, r"(redis://\S+)")
        with redis.Redis.from_url(url, decode_responses=True) as client:

            def found() -> list[str] | None:
                for key in client.scan_iter(keys.history("task", "*"), count=1000):
                    history: list[str] = client.lrange(key, 0, -1)
                    if len(history) > 1:
                        return history
                return None

            newest, before, *_ = map(json.loads, wait_until(found))
    assert newest["from"] == before["phase"]
    assert newest["id"] == before["id"]


def test_says_that_its_server_is_gone() -> None:
    """A server that somebody shuts down ends the demo in one line: it neither hangs nor traces."""
    with running_demo() as demo:
        url = read_until(demo, r"(redis://\S+)")
        read_until(demo, r" ([1-9]\d*) events/s")
        with redis.Redis.from_url(url) as client:
            client.shutdown(nosave=True)
        _, errors = demo.communicate()
    assert demo.returncode == EXIT_CONFIG
    assert errors.splitlines()[-1].startswith("status-tracker: the demo's server is gone")
    assert "Traceback" not in errors


def test_the_live_view_fits_its_terminal() -> None:
    """On a terminal: phases, tasks with progress bars, rejections, all within 80 x 24."""
    code, written = on_a_terminal("--seconds", "3")
    assert code == 0
    live, _, after = written.partition("\x1b[?1049l")
    assert number(r"([\d,]+) events in: ", after) > 0
    *_, last = live.split("\x1b[H")
    rows = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", last).split("\r\n")
    assert len(rows) == ROWS
    assert {len(row) for row in rows} == {COLUMNS}
    text = "\n".join(rows)
    assert "http://127.0.0.1:" in text
    assert number(r"running +(\d+) ", text) > 0
    assert re.search(r"running tasks \(\d+, \d+ stalled\)", text)
    assert re.search(r"video-\d{4}-\w+ +━+.* \d+%", text)
    assert "last rejections (of" in text


def test_a_cancelled_producer_ends(tmp_path: Path) -> None:
    """No cancellation is lost, as it is where redis-py sends with a timeout on Python 3.11."""

    async def produce(streams: Streams) -> None:
        while True:
            await streams.add("video-0001", b"uploaded")

    async def cancel_at_random(url: str) -> None:
        async with _connect(url) as client, AsyncEmitter(url) as emitter:
            streams = Streams(emitter, client, Keys("status", "single"), partitions=4)
            for number in range(100):
                producing = asyncio.create_task(produce(streams))
                await asyncio.wait([producing], timeout=0.005 + number / 100_000)
                producing.cancel()
                _, still_there = await asyncio.wait([producing], timeout=5)
                assert not still_there

    with embedded_server(tmp_path) as url:
        asyncio.run(cancel_at_random(url))
