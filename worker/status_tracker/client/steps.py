"""Which phases lead from where an entity is to where it is to be. Pure."""

from collections.abc import Iterable, Sequence

from status_tracker.lifecycle import Edge, Lifecycle

_PLAIN = (Edge.TRANSITION,)
_RETRYING = (Edge.TRANSITION, Edge.RETRY)
_ANY = (Edge.TRANSITION, Edge.RETRY, Edge.RESTART)


def way_to(life: Lifecycle, start: str | None, end: str) -> Sequence[str]:
    """Return the phases after `start`, or from a beginning where that is None, up to `end`.

    The shortest way by plain steps; else one with retries, or with restarts. Where there is none,
    only the end, so that the workers say why it cannot be.
    """
    if start == end:
        return [end]
    if start is None:
        # In the order in which people read them.
        starts = [phase for phase in life.phases if phase in life.initial]
        return _shortest(life, [[phase] for phase in starts], end, _PLAIN) or [end]
    for edges in (_PLAIN, _RETRYING, _ANY):
        found = _shortest(life, [[start]], end, edges)
        if found:
            return found[1:]
    return [end]


def way_back(life: Lifecycle, phase: str) -> Sequence[str]:
    """Return the shortest way from a phase to itself over a retry; none where nothing is counted.

    Of a task that is running: waiting, running.
    """
    ways = []
    for start, ends in life.edges.items():
        for end, edge in ends.items():
            if edge is Edge.RETRY:
                there = _shortest(life, [[phase]], start, _PLAIN)
                back = _shortest(life, [[end]], phase, _PLAIN)
                if there and back:
                    ways.append([*there[1:], *back])
    return min(ways, key=len, default=[])


def _shortest(
    life: Lifecycle, ways: Iterable[list[str]], end: str, edges: Sequence[Edge]
) -> list[str]:
    """Return the shortest way to a phase that begins as one of the given ways does."""
    ways = list(ways)
    seen = {way[-1] for way in ways}
    for way in ways:  # grows while it is gone through
        if way[-1] == end:
            return way
        for phase, edge in life.edges.get(way[-1], {}).items():
            if edge in edges and phase not in seen:
                seen.add(phase)
                ways.append([*way, phase])
    return []
