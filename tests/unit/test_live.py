"""What is remembered of open pages, without a server."""

from status_tracker.dashboard.live.page import OpenPage
from status_tracker.dashboard.live.rows import MOST_READ, Rows, Shown
from status_tracker.dashboard.live.view import MOST_ROWS, Row, View


def test_rows_take_turns() -> None:
    """However many there are; those of a kind that there is not keep no others waiting."""
    rows = Rows()
    for kind in ("no", "task"):
        for page in range(2 * MOST_READ // MOST_ROWS):
            ids = [f"t-{page}-{number}" for number in range(MOST_ROWS)]
            rows.add(OpenPage(View(rows=[Row(kind, each) for each in ids])))
    first = rows.unknown({"task"})
    assert {each.kind for each in first} == {"task"}
    assert len(first) == len(set(first)) == MOST_READ
    rows.shown |= {each: Shown(None, None) for each in first}
    assert not set(first) & set(rows.unknown({"task"}))
