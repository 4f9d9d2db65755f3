"""What may stand in an entry, by section 4 of the contract alone: for the model."""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]
"""A JSON object; the order of its keys is the order of the fields."""

NO_KINDS = [
    *["events", "partition", "lease", "phase", "counts", "changes", "rejected"],
    *["meta", "workers", "stalled", "history"],
]
"""Other parts of keys: no kind is called so."""


def read_update(
    data: bytes | None, max_event_bytes: int, kinds: Mapping[str, Document]
) -> tuple[Document | None, str]:
    """Rule 1: return the update without its unknown and null fields, or why it is none."""
    if data is None:
        return None, "malformed"
    if len(data) > max_event_bytes:
        return None, "oversized"
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_json)
    except ValueError:
        return None, "malformed"
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        return None, "invalid"
    known = ["kind", "id", "phase", "updatedAt", "progress", "errorMessage", "attempt", "force"]
    if "max_retries" in kinds[kind]:
        known.append("restart")
    update = {name: value[name] for name in known if name in value}
    for optional in ("progress", "errorMessage", "attempt"):
        if update.get(optional, "") is None:
            del update[optional]
    return (update, "") if _fits(update, kinds[kind]["phases"]) else (None, "invalid")


def _fits(update: Document, phases: list[str]) -> bool:
    """Section 4: check every field of an update."""
    return (
        _is_id(update.get("id"))
        and update.get("phase") in phases
        and _between(1e11, update.get("updatedAt"), 2**53)
        and _between(0, update.get("progress", 0), 1)
        and isinstance(update.get("errorMessage", ""), str)
        and isinstance(update.get("restart", False), bool)
        and isinstance(update.get("attempt", 1), int)
        and _between(1, update.get("attempt", 1), 2**53)
        and isinstance(update.get("force", False), bool)
    )


def _is_id(value: object) -> bool:
    return (
        isinstance(value, str)
        and 1 <= len(value) <= 256
        and not any(c in "{}" or c.isspace() or unicodedata.category(c) == "Cc" for c in value)
    )


def _between(low: float, value: object, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low <= value <= high


def _no_json(name: str) -> None:
    """Refuse NaN and Infinity, which Python's reader takes."""
    raise ValueError(f"{name} is not JSON")


def read_removal(value: bytes) -> list[list[Any]] | None:
    """Return what a field `remove` names, or None where that is not of the contract's form."""
    try:
        wanted = json.loads(value.decode("utf-8"), parse_constant=_no_json)
    except (ValueError, RecursionError):
        return None
    if not isinstance(wanted, list) or len(wanted) > 1000:
        return None
    for each in wanted:
        if not isinstance(each, list) or len(each) not in (2, 4):
            return None
        kind, entity_id, *condition = each
        if not isinstance(kind, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", kind):
            return None
        if kind in NO_KINDS or not _is_id(entity_id):
            return None
        if condition and not (
            _between(1e11, condition[0], 2**53) and isinstance(condition[1], str)
        ):
            return None
    return wanted
