"""What the pages make of what they are given: words, looks, rates, and what needs a person."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_tracker.dashboard.pages.chart import HEIGHT, TOP, chart
from status_tracker.dashboard.pages.kind import beginning
from status_tracker.dashboard.pages.phases import appearances
from status_tracker.dashboard.pages.rendering import STATIC, address, element
from status_tracker.dashboard.pages.timeline import spells
from status_tracker.dashboard.pages.words import ago, exact, number, percent, share, shown, span
from status_tracker.dashboard.seen import GAP, SPAN, Rate, Seen
from status_tracker.models import Change
from status_tracker.monitoring.fleet import FleetState, PartitionState, RejectedState, Totals

from tests.line import RULES

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 s"),
        (12, "12 ms"),
        (1_000, "1 s"),
        (2_500, "2.5 s"),
        (59_000, "59 s"),
        (90_000, "1.5 min"),
        (7_200_000, "2 h"),
        (40 * 86_400_000, "40 d"),
    ],
)
def test_spans(ms: float, text: str) -> None:
    """Two digits at most, in the largest unit that fits."""
    assert span(ms) == text
    assert ago(NOW - ms, NOW) == ("now" if ms < 1_000 else f"{text} ago")
    assert ago(NOW + ms, NOW) == ("now" if ms < 1_000 else f"in {text}")


def test_the_browser_writes_times_as_the_server_does() -> None:
    """A page that is made, and one that is kept up, say the same."""
    script = (STATIC / "times.js").read_text()
    found = re.findall(r"\[([\d_]+), \"(\w+)\"\]", script)
    assert [(int(size), unit) for size, unit in found] == [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ]


@pytest.mark.parametrize("at", [NOW, 2.0**53, 1e11, 8.64e15])
def test_times_that_no_calendar_has(at: float) -> None:
    """`updatedAt` may be any number up to 2^53."""
    assert exact(at).endswith(("UTC", "ms"))


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [(0, 0, "0 %"), (0, 9, "0 %"), (1, 1000, "<1 %"), (999, 1000, "99 %"), (5, 5, "100 %")],
)
def test_shares(count: int, total: int, text: str) -> None:
    """Nothing that is there is 0 %, and all but one is not 100 %."""
    assert share(count, total) == text


def test_progress() -> None:
    """It is rounded down, as a number of 100 parts: 100 times 0.29 is less than 29."""
    assert [percent(each / 100) for each in range(101)] == [f"{each} %" for each in range(101)]
    assert (percent(0.999), percent(5e-324)) == ("99 %", "0 %")


def test_numbers_and_text() -> None:
    """Thousands are apart; a message is one line without what would move what is around it."""
    assert (number(1_234_567), number(0.25), number(3)) == ("1,234,567", "0.2", "3")
    assert shown("a\x1b[2J\u202eb\nc") == "a\\x1b[2J\\u202eb\\nc"
    assert len(shown("x" * 10_000)) == 300


def test_each_phase_looks_like_itself() -> None:
    """No two of a kind have the same colour and shape, and each means what its name says."""
    for life in RULES.kinds.values():
        looks = appearances(life)
        assert len({(each.tone, each.shape, each.shade) for each in looks.values()}) == len(looks)
    tones = {phase: look.tone for phase, look in appearances(RULES.kinds["task"]).items()}
    assert tones == {
        "pending": "begins",
        "waiting": "waits",
        "running": "works",
        "failed": "wrong",
        "completed": "done",
        "cancelled": "over",
    }


@given(st.text(max_size=12))
def test_ids_in_addresses_and_patterns(entity_id: str) -> None:
    """Whatever is in an id, its address is one parameter, and its pattern is no other one's."""
    found = address("entity", kind="task", id=entity_id.encode(errors="replace").decode())
    assert re.fullmatch(r"entity\?kind=task&id=[\w.~%+-]*", found, re.ASCII)
    pattern = beginning(entity_id)
    assert re.sub(r"\\(.)", r"\1", pattern, flags=re.DOTALL) == f"{entity_id}*"
    assert element("task", entity_id).isalnum()


def partition(
    number: int, owner: str | None = "w", applied: int = 0, rejected: int = 0
) -> PartitionState:
    """Return what the keys say of a partition."""
    totals = Totals(applied=applied, rejected={"stale": rejected} if rejected else {})
    return PartitionState(number, owner, "1-1", 0, 0.0, 5.0, totals, 1)


def fleet(*partitions: PartitionState) -> FleetState:
    """Return what the keys say at a moment."""
    return FleetState(list(partitions), [], RejectedState(0, 0), 1)


def test_rates_are_those_between_looks() -> None:
    """By what the partitions counted; nothing is said of a gap, or of hashes that were lost."""
    seen = Seen()
    seen.add(NOW, fleet(partition(0, applied=100), partition(1)))
    seen.add(NOW + 2_000, fleet(partition(0, applied=300, rejected=10), partition(1, applied=20)))
    assert list(seen.rates()) == [Rate(NOW + 2_000, 115, 5)]
    assert (seen.rate_of(0), seen.rate_of(1), seen.rejected_lately()) == (105, 10, 10)
    seen.add(NOW + 3_000, fleet(partition(0), partition(1)))
    seen.add(NOW + 3_000 + GAP + 1, fleet(partition(0, applied=5), partition(1)))
    assert len(list(seen.rates())) == 1
    seen.add(NOW + 2 * SPAN, fleet(partition(0), partition(1)))
    assert (list(seen.rates()), seen.rate_of(0)) == ([], None)


def test_a_clock_that_goes_back() -> None:
    """After a failover it may: what was seen by the other clock is forgotten."""
    seen = Seen()
    for at in (NOW, NOW + 1_000, NOW - SPAN, NOW - SPAN + 1_000):
        seen.add(at, fleet(partition(0, applied=at - NOW + 2 * SPAN)))
    assert [each.at for each in seen.rates()] == [NOW - SPAN + 1_000]
    assert seen.rate_of(0) == 1_000


def test_hand_overs_are_noticed() -> None:
    """Where they were seen: who looks for the first time knows of none."""
    seen = Seen()
    seen.add(NOW, fleet(partition(0, "a"), partition(1, None)))
    seen.add(NOW + 1_000, fleet(partition(0, "b"), partition(1, None)))
    assert seen.owned_since == {0: NOW + 1_000}


@given(st.lists(st.tuples(st.integers(1, 30_000), st.floats(0, 1e6), st.floats(0, 1e6))))
def test_the_chart_stays_in_its_picture(steps: list[tuple[int, float, float]]) -> None:
    """Whatever comes in: rejections are never more than updates."""
    at, rates = NOW - SPAN, []
    for step, updates, rejected in steps:
        at += step
        rates.append(Rate(at, updates, min(updates, rejected)))
    rates = [each for each in rates if each.at <= NOW]
    found = chart(rates, NOW)
    points = " ".join(f"{each.updates} {each.rejected}" for each in found.lines).split()
    assert len(points) == 2 * len(rates)
    for point in points:
        x, y = map(float, point.split(","))
        assert 0 <= x <= 600
        assert TOP <= y <= HEIGHT


def test_how_long_each_phase_lasted() -> None:
    """The newest goes on; where clocks disagree, a phase lasted nothing."""
    history = [
        Change(phase=phase, updated_at=NOW + at, kind="task", id="a", event=f"{at}-0")
        for phase, at in (("completed", 900), ("running", 1_000), ("waiting", 500), ("pending", 0))
    ]
    found = spells(history)
    assert [each.lasted for each in found] == [None, 0, 500, 500]
    assert [each.share for each in found] == [0, 0, 100, 100]
    assert spells([]) == []


def test_what_pages_load_is_small() -> None:
    """All of JavaScript and CSS, as it is."""
    files = [each for each in STATIC.iterdir() if each.suffix in (".js", ".css")]
    assert sum(each.stat().st_size for each in files) < 60_000


def test_no_page_has_code_in_it() -> None:
    """The policy would forbid it, and a browser show half of the page."""
    for template in (STATIC.parent / "templates").iterdir():
        text = template.read_text()
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|javascript:", text)
        assert "|safe" not in text, template


def test_settled_kinds_look_settled() -> None:
    """A kind whose only phase is its end has a look, too."""
    life = RULES.kinds["task"]
    only = msgspec.structs.replace(
        life,
        phases=("done",),
        initial=frozenset({"done"}),
        success=frozenset(),
        terminal=frozenset({"done"}),
        settled=frozenset({"done"}),
        edges={"done": {}},
    )
    assert appearances(only)["done"].tone == "over"
