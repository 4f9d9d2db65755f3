"""A worker that asks nobody: it reads every partition, with no lease and no heartbeat.

Run as a process: ``python -m tests.acceptance.leaseless URL``.
"""

import asyncio
import sys

from status_tracker.app import Worker
from status_tracker.settings import load_settings


async def main(url: str) -> None:
    """Work until killed."""
    # Small batches, so that two such workers meet often.
    settings = load_settings(environment={}, options={"redis_url": url, "batch_entries": 50})
    worker = Worker(settings)
    client, agreement = await worker._reach()
    numbers = range(settings.partitions)
    common = worker._common(client, agreement)
    partitions = [worker._partition(client, agreement, number, common) for number in numbers]
    await asyncio.gather(*(partition.run() for partition in partitions))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
