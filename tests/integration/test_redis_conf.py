"""`config/redis.conf` starts a real server, which then has what the file says."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.security import password_of, users
from tests.servers import binaries, free_port, wait_until

CONF = Path(__file__).parents[2] / "config/redis.conf"

SETTINGS = dict(re.findall(r"^([a-z-]+) (.*)$", CONF.read_text(), re.MULTILINE))
HERE = {"port", "bind", "aclfile"}
"""What is of the host."""


@pytest.mark.parametrize("binary", binaries().values(), ids=binaries().keys())
def test_a_server_starts_with_it(binary: Path, tmp_path: Path) -> None:
    """With the file as it is, but for the port and the folders."""
    acl = tmp_path / "users.acl"
    acl.write_text(users())
    port = free_port()
    options = ["--port", str(port), "--dir", str(tmp_path), "--aclfile", str(acl)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([str(binary), str(CONF), *options], stdout=log, stderr=log)
    try:
        admin = redis.Redis(
            port=port,
            username="admin",
            password=password_of("admin"),
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        with admin:
            wait_until(lambda: process.poll() is not None or _answers(admin))
            assert process.poll() is None, (tmp_path / "log").read_text()
            held = admin.config_get("*")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    sizes = {"maxmemory": str(2 * 2**30), "repl-backlog-size": str(256 * 2**20)}
    for name, value in (SETTINGS | sizes).items():
        if name not in HERE:
            assert held[name] == value, name


def test_each_line_has_a_reason() -> None:
    """A comment stands before each setting, or before the one above it."""
    lines = CONF.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[a-z]", line):
            assert re.match(r"[a-z#]", lines[number - 1]), line


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        time.sleep(0.01)
        return False
