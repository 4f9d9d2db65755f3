"""When the policies look next, and who is to be looked at when."""

from collections import defaultdict

import pytest
from status_tracker.connection.client import Client
from status_tracker.engine.heard import Heard
from status_tracker.engine.statuses import Effects
from status_tracker.engine.tally import Tally
from status_tracker.maintenance.agenda import Agenda, Entity
from status_tracker.maintenance.retention import Retention
from status_tracker.maintenance.stalled import Stalled
from status_tracker.maintenance.trimming import Trimming
from status_tracker.maintenance.upkeep import Policy
from status_tracker.models import Status
from status_tracker.rules import Rules, without_times
from status_tracker.units import duration

from tests.integration.maintaining import rules_of_task
from tests.line import RULES, deployed

NOBODY: Client = None  # type: ignore[assignment]
"""Nothing is asked of a server here."""


def policies(rules: Rules, retention: str = "1h") -> dict[str, Policy]:
    """Return the policies of a worker that knows all of its partition."""
    heard = Heard()
    heard.since, heard.marks = 0, {}

    def owned() -> dict[int, Heard]:
        return {0: heard}

    kept = duration(retention)
    found: list[Policy] = [
        Stalled(NOBODY, lambda: deployed(rules), owned, owner=""),
        Retention(NOBODY, lambda: deployed(rules), owned),
        Trimming(
            NOBODY, lambda: deployed(rules), owned, Tally(), retention=kept, group_retention=kept
        ),
    ]
    return {each.name: each for each in found}


@pytest.mark.parametrize(
    ("rules", "pauses"),
    [
        pytest.param(RULES, {"stalled": 30, "retention": 30}, id="the shipped rules"),
        pytest.param(without_times(RULES), {"stalled": 30, "retention": 30}, id="no limits"),
        pytest.param(
            rules_of_task(stalled={"running": "20s"}, retention={"completed": "50ms"}),
            {"stalled": 2, "retention": 0.1},
            id="short limits",
        ),
    ],
)
def test_the_next_look_is_a_tenth_of_the_shortest_limit_away(
    rules: Rules, pauses: dict[str, float]
) -> None:
    """At most half a minute: what comes late by so much is not late by more than its limit."""
    found = policies(rules)
    assert {name: found[name].pause for name in pauses} == pauses


def test_trimming_looks_by_its_own_time() -> None:
    """Once a minute at least."""
    assert policies(RULES, "1h")["trimming"].pause == 60
    assert policies(RULES, "20s")["trimming"].pause == 2


def test_an_entity_is_looked_at_at_the_earliest_of_its_times() -> None:
    """What is asked for later is soon enough then; who was taken may come again."""
    agenda, one, other = Agenda(defaultdict(set)), Entity(0, "task", "a"), Entity(1, "task", "b")

    agenda.add(5, one)
    agenda.add(3, other)
    agenda.add(9, one)
    assert agenda.take(2, 10) == []
    assert agenda.take(5, 10) == [other, one]
    assert agenda.take(99, 10) == []
    agenda.add(9, one)
    assert agenda.take(9, 0) == []
    assert agenda.take(9, 10) == [one]
    agenda.add(900, one)
    agenda.add(907, other)
    agenda.add(7, one)
    assert agenda.take(8, 10) == [one]
    assert agenda.take(906, 10) == []
    assert agenda.take(907, 10) == [other]


def test_who_ended_is_not_awaited() -> None:
    """A million tasks may begin and end before the first one's limit is over."""
    heard = Heard()
    heard.attach("0-0", RULES)
    agenda = Agenda(heard.awaited)
    for name in ("a", "b", "c"):
        agenda.add(300_000, Entity(0, "task", name))
    ended = Status(phase="completed", updated_at=1_700_000_000_000)
    goes_on = Status(phase="running", updated_at=1_700_000_000_000)
    effects = {"task": Effects(after={"a": ended, "b": goes_on, "d": ended})}
    heard.note("1700000000000-0", effects, [], [("task", "c")], {})
    assert (heard.awaited["task"], heard.ended["task"]) == ({"b"}, {"a", "c"})
    for each in heard.ended["task"]:
        agenda.discard(Entity(0, "task", each))
    assert agenda.take(300_000, 10) == [Entity(0, "task", "b")]
    assert heard.awaited["task"] == set()
