"""What an owner remembers of silence, where what it remembers may become much."""

from status_tracker.engine.heard import Heard
from status_tracker.engine.statuses import Effects
from status_tracker.models import Status

from tests.line import RULES

T0 = 1_700_000_000_000


def said(heard: Heard, at: int, phase: str, *ids: str) -> None:
    """Have updates come at a time, whose own time is long before."""
    after = {each: Status(phase=phase, updated_at=at - 100_000) for each in ids}
    heard.note(f"{at}-0", {"task": Effects(after=after)}, [], [], {})


def test_who_ended_is_forgotten() -> None:
    """A producer whose clock is behind may begin and end a million tasks between two looks."""
    heard = Heard()
    heard.attach("0-0", RULES)
    said(heard, T0, "running", "a", "b", "c")
    assert heard.again["task"] == heard.late["task"].keys() == {"a", "b", "c"}
    said(heard, T0 + 1, "completed", "a")
    heard.note(f"{T0 + 2}-0", {}, [], [("task", "b")], {})
    assert heard.again["task"] == heard.late["task"].keys() == {"c"}
