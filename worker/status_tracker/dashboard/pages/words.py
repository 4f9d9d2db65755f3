"""Numbers, times and text of others, as people read them."""

import datetime
import math

from status_tracker.text import escaped, shortened

UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))

MOST_SHOWN = 300
"""Characters of a message in a list."""


def span(ms: float) -> str:
    """Write a time that passed: ``3 min``, ``2 h``; as `times.js` does."""
    for size, unit in UNITS:
        if abs(ms) >= size:
            return f"{abs(ms) / size:.0f} {unit}" if abs(ms) >= 10 * size else _fine(ms, size, unit)
    return f"{abs(ms):.0f} ms" if abs(ms) >= 1 else "0 s"


def _fine(ms: float, size: int, unit: str) -> str:
    """Below ten, a digit more: ``1.5 h``, but no ``.0``."""
    return f"{abs(ms) / size:.1f}".removesuffix(".0") + f" {unit}"


def ago(at: float, now: float) -> str:
    """Write how long ago something was, or how long it will take."""
    away = now - at
    if abs(away) < 1_000:
        return "now"
    return f"{span(away)} ago" if away > 0 else f"in {span(away)}"


def exact(at: float) -> str:
    """Write a time in full; a time that no calendar has, as its number."""
    try:
        found = datetime.datetime.fromtimestamp(at / 1000, datetime.UTC)
    except (OverflowError, OSError, ValueError):
        return f"{at:.0f} ms"
    return found.strftime("%Y-%m-%d %H:%M:%S.") + f"{found.microsecond // 1000:03d} UTC"


def share(count: int, total: int) -> str:
    """Write a part of a whole, which is never 0 or 100 % unless it is so."""
    if not total or not count:
        return "0 %"
    percent = 100 * count / total
    if count == total:
        return "100 %"
    if percent < 1:
        return "<1 %"
    return f"{min(percent, 99):.0f} %"


def percent(part: float) -> str:
    """Write a part of 1, rounded down: what is not done is never 100 %."""
    return f"{math.floor(round(100 * part, 6))} %"  # 100 * 0.29 is 28.999999999999996


def number(value: float) -> str:
    """Write a number with commas between thousands."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def shown(text: str | None, most: int = MOST_SHOWN) -> str:
    """Write others' text in one line, with what cannot be seen spelt out."""
    return escaped(shortened(text or "", most))
