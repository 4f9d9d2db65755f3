"""The loop that is quickest to publish: a blocking XREAD, and a SET for each event.

`python -m tests.bench.simple URL PARTITIONS` runs until it is ended. It checks nothing and would
start anew after a crash; the SETs of what one read brought go out together.
"""

import sys
from typing import Any

import msgspec
from msgspec import Struct

from tests.bench.kinds import connect
from tests.bench.workload import PREFIX, Workload


class Update(Struct, gc=False):
    """What is needed of an entry."""

    kind: str
    id: str


_decode = msgspec.json.Decoder(Update).decode


def publish(url: str, workload: Workload) -> None:
    """Set each entity's key to its last event, without end."""
    client = connect(url)
    client.set_response_callback("XREAD", lambda reply, **_: reply)
    cursors: dict[Any, Any] = dict.fromkeys(workload.streams(), "0")
    while True:
        reply: Any = client.xread(cursors, count=1000, block=1000)
        pipeline = client.pipeline(transaction=False)
        for stream, entries in reply or ():
            for _, fields in entries:
                update = _decode(fields[1])
                pipeline.set(f"{PREFIX}:{update.kind}:{update.id}", fields[1])
            cursors[stream.decode()] = entries[-1][0]
        pipeline.execute()


if __name__ == "__main__":
    publish(sys.argv[1], Workload(partitions=int(sys.argv[2])))
