"""Operations driven without a server: a test answers what they ask."""

from collections.abc import Callable
from typing import Any, TypeVar

from status_tracker.client.operations import Operation, Pause
from status_tracker.metadata import Deployment

from tests.line import deployed

T = TypeVar("T")

DEPLOYMENT = deployed(partitions=4)


def driven(operation: Operation[T], answer: Callable[[Any], Any]) -> T:
    """Drive an operation to its end; errors that the answer raises are thrown into it."""
    try:
        request = next(operation)
        while True:
            try:
                reply = None if isinstance(request, Pause) else answer(request)
            except Exception as error:  # noqa: BLE001 - the operation's to handle
                request = operation.throw(error)
            else:
                request = operation.send(reply)
    except StopIteration as done:
        result: T = done.value
        return result


class KnownSite:
    """A deployment whose rules can be changed under an emitter's feet."""

    def __init__(self, deployment: Deployment = DEPLOYMENT) -> None:
        self.known = self.current = deployment

    def get(self) -> Operation[Deployment]:
        """Return what is known."""
        yield from ()
        return self.known

    latest = get

    def read(self) -> Operation[Deployment]:
        """Return what is there."""
        yield from ()
        self.known = self.current
        return self.known


class Streams:
    """Streams of a server: XADD, XREVRANGE, WAIT and XINFO GROUPS; a test says what goes wrong."""

    def __init__(self) -> None:
        self.entries: dict[str, list[tuple[bytes, bytes]]] = {}
        self.fields: dict[tuple[bytes, bytes], bytes] = {}
        """Entry → the name of its field."""
        self.asked: list[Any] = []
        self.faults: list[Callable[[list[Any]], list[Any]]] = []
        """What the next pipelines meet, each once: it may let commands through by `reply`."""
        self.lag = 0
        self.replicas = 1

    def answer(self, request: Any) -> Any:
        """Answer a pipeline."""
        commands = request if isinstance(request, list) else [request]
        self.asked.append(commands)
        replies = self.faults.pop(0)(commands) if self.faults else list(map(self.reply, commands))
        return replies if isinstance(request, list) else replies[0]

    def reply(self, command: Any) -> Any:
        """Do what one command says."""
        match command:
            case ("XADD", stream, "*", field, data):
                entries = self.entries.setdefault(stream, [])
                entries.append((b"%d-0" % (len(entries) + 1), data))
                self.fields[entries[-1]] = field.encode()
                return entries[-1][0]
            case ("XREVRANGE", stream, "+", begin, "COUNT", count):
                first = int(begin[1:].split(b"-")[0]) if begin not in ("-", b"-") else 0
                entries = self.entries.get(stream, [])[first:][-count:]
                return [(each[0], [self.fields[each], each[1]]) for each in reversed(entries)]
            case ("WAIT", _, _):
                return self.replicas
            case ("XINFO", "GROUPS", _):
                return [[b"name", b"tracker", b"lag", self.lag]]
        raise AssertionError(f"{command} is not expected")

    def data(self) -> list[bytes]:
        """Return all that was added, stream by stream."""
        return [data for entries in self.entries.values() for _, data in entries]

    def sent(self) -> list[Any]:
        """Return the commands that came."""
        return [command for commands in self.asked for command in commands]
