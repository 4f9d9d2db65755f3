"""Durations and sizes, as people write them in files, variables and options."""

import re
from typing import Any, ClassVar

from status_tracker.text import shortened


class Milliseconds(int):
    """A duration."""

    units: ClassVar[dict[str, int]] = {
        "ms": 1,
        "s": 1000,
        "m": 60_000,
        "h": 3_600_000,
        "d": 86_400_000,
    }
    examples: ClassVar[str] = '"250ms", "5s", "2m", "1h" or "7d"'


class Bytes(int):
    """A size."""

    units: ClassVar[dict[str, int]] = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    examples: ClassVar[str] = '"500B", "64KiB", "8MiB" or "1GiB"'


def quantity(unit: Any, text: str) -> Any:
    """Read a quantity of a unit; raises ValueError, which says how to write one."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*([A-Za-z]+)", text.strip())
    if match and match[2] in unit.units:
        return unit(float(match[1]) * unit.units[match[2]])
    raise ValueError(f"{shortened(repr(text))}: write {unit.examples}")


def written(value: Any) -> str:
    """Write a quantity in the largest unit of which it is a whole number."""
    units: dict[str, int] = type(value).units
    fitting = [unit for unit, size in units.items() if value % size == 0]
    unit = fitting[-1] if value else next(iter(units))
    return f"{value // units[unit]}{unit}"


def duration(text: str) -> Milliseconds:
    """Read a duration; raises ValueError where it is none."""
    read: Milliseconds = quantity(Milliseconds, text)
    return read
