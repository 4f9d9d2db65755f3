"""A colour and a shape for each phase of any kind: told from its lifecycle, and its name."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from status_tracker.lifecycle import Lifecycle

Tone = Literal["begins", "waits", "works", "done", "wrong", "over"]

SHAPES: Mapping[Tone, tuple[str, ...]] = {
    "begins": ("ring", "dotted", "square-ring"),
    "waits": ("half", "clock", "bars"),
    "works": ("play", "diamond", "triangle", "arrow"),
    "done": ("check", "star"),
    "wrong": ("cross", "bang"),
    "over": ("square", "minus", "slash"),
}
"""Where a kind has more phases of a tone, shapes come again, in another shade."""

_WRONG = re.compile(r"fail|err|broke|dead|reject|crash|lost|abort|timed?_?out|invalid|bad")
_WAITS = re.compile(r"wait|queue|pend|sched|hold|paus|block|ready_to|retry")


class Appearance(Struct, frozen=True):
    """How a phase looks."""

    tone: Tone
    shape: str
    shade: int
    """0, 1, …: to tell phases of one tone apart."""


def tone_of(life: Lifecycle, phase: str) -> Tone:
    """Tell what a phase means to people."""
    if phase in life.success:
        return "done"
    if _WRONG.search(phase):
        return "wrong"
    leads_on = any(edge.value == "transition" for edge in life.edges[phase].values())
    if not leads_on or phase in life.terminal:
        return "over"
    if phase in life.settled:
        return "done"
    if _WAITS.search(phase):
        return "begins" if phase in life.initial else "waits"
    return "works"


def appearances(life: Lifecycle) -> dict[str, Appearance]:
    """Return how the phases of a kind look, no two alike while there are shapes and shades."""
    seen: Counter[Tone] = Counter()
    found = {}
    for phase in life.phases:
        tone = tone_of(life, phase)
        shapes = SHAPES[tone]
        number = seen[tone]
        found[phase] = Appearance(tone, shapes[number % len(shapes)], number // len(shapes) % 3)
        seen[tone] += 1
    return found
