"""What workers do by themselves in the rounds, with limits of seconds: all of it happens often."""

from pathlib import Path

from status_tracker.keys import Keys
from status_tracker.settings import default_file

from tests.chaos.sites import PARTITIONS
from tests.servers import Redis

TIMES = """
[task.stalled]
waiting = "2s"
running = "2s"
[task.retention]
completed = "1s"
cancelled = "1s"
failed = "3s"
[asset.stalled]
uploading = "2s"
processing = "3s"
[asset.retention]
deleted = "1s"
"""

STALLED = {"task": ["waiting", "running"], "asset": ["uploading", "processing"]}
GONE = {"task": ["completed", "cancelled", "failed"], "asset": ["deleted"]}


def write_rules(folder: Path) -> Path:
    """Write the shipped rules with such limits; a stalled asset fails, a task is marked."""
    lines = default_file("rules.toml").read_text().splitlines()
    kept, skips = [], False
    for line in lines:
        if line.startswith("["):
            skips = line.endswith((".stalled]", ".retention]"))
        if not skips:
            kept.append(line)
    text = "\n".join(kept).replace("[asset]\n", '[asset]\non_stalled = "failed"\n')
    file = folder / "rules.toml"
    file.write_text(text + TIMES)
    return file


def has_nothing_to_do(client: Redis, keys: Keys) -> bool:
    """Tell whether all that is old is gone, and all that is stalled is marked or has failed."""
    for number in range(PARTITIONS):
        own = keys.partition(number)
        old = [own.phase(kind, phase) for kind, phases in GONE.items() for phase in phases]
        old += [own.phase("asset", phase) for phase in STALLED["asset"]]
        if client.exists(*old):
            return False
        silent = {
            each
            for phase in STALLED["task"]
            for each in client.zrange(own.phase("task", phase), 0, -1)
        }
        if set(client.zrange(own.stalled("task"), 0, -1)) != silent:
            return False
    return True
