"""How soon the command is there: its help, and a worker's first event."""

import os
import statistics
import subprocess
import time

import redis

from tests.bench.figures import Figure, Report
from tests.bench.kinds import Kind, connect, version
from tests.bench.processes import COMMAND, running, worker
from tests.bench.rounds import Plan, say
from tests.bench.tracker import status_key
from tests.bench.workload import Workload, add

TIMES = 3
"""Starts per round: they are short, and the first ones find files that are not in memory yet."""

GIVEN_UP_AFTER = 15.0


def help_cpu() -> float:
    """Return the seconds of CPU that `status-tracker --help` takes."""
    process = subprocess.Popen([COMMAND, "--help"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"wrong work: {COMMAND} --help ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def until_first_event(url: str, client: redis.Redis) -> float:
    """Return the seconds from exec until a worker on an empty server has committed an event."""
    client.flushdb()
    workload = Workload(events=1)
    add(client, workload.streams(), workload.updates())
    [(task, _)] = workload.moves()
    began = time.perf_counter()
    with running(worker(url, workload)):
        while not client.exists(status_key(task)):
            if time.perf_counter() - began > GIVEN_UP_AFTER:
                raise SystemExit("wrong work: a worker that was started does not publish")
            time.sleep(0.005)
        return time.perf_counter() - began


def measure(kind: Kind, plan: Plan) -> Report:
    """Start the command time and again."""
    times = TIMES * plan.rounds
    with kind.serve() as url, connect(url) as client:
        report = Report(version(url), kind.append_only)
        help_took = [help_cpu() for _ in range(times)]
        worker_took = [until_first_event(url, client) for _ in range(times)]
    say(f"help {statistics.median(help_took):.3f} s of CPU")
    say(f"a worker's first event after {statistics.median(worker_took):.3f} s")
    report.figures = [
        _figure("CPU of status-tracker --help", "help_cpu", help_took, 0.25),
        _figure("from exec to the first event committed", "start", worker_took, 0.5),
    ]
    return report


def _figure(name: str, key: str, seconds: list[float], target: float) -> Figure:
    detail = f"median of {len(seconds)}: {min(seconds):.2f} … {max(seconds):.2f}"
    value = statistics.median(seconds)
    return Figure(name, key, value, "s", target=target, at_least=False, detail=detail)
