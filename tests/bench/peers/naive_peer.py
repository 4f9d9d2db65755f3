"""The loop one writes first, as a process: `python -m tests.bench.peers.naive_peer URL`.

It runs until it is ended.
"""

import sys

from tests.bench.handwritten import drain_naive
from tests.bench.kinds import connect
from tests.bench.workload import Workload

if __name__ == "__main__":
    with connect(sys.argv[1]) as client:
        # More than anybody sends: it ends by itself only after so many.
        drain_naive(client, Workload(sys.maxsize))
