"""What is not the same, in lines that people read in the report of a test."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from status_tracker.client.documents import Rejected
from status_tracker.client.feed import Removal
from status_tracker.models import Change, Status
from status_tracker.text import decoded, shortened

Statuses = Mapping[tuple[str, str], Status]
"""Kind and id → status."""

_SHOWN = (Status, Rejected, Removal)


def explained(operator: str, left: object, right: object) -> list[str] | None:
    """Return the lines for an assertion that failed; None where pytest's own will do."""
    if operator != "==":
        return None
    if isinstance(left, Status) and isinstance(right, Status) and type(left) is type(right):
        return [f"{_name(left)} == {_name(right)}", *_of_fields(left, right)]
    if isinstance(left, _SHOWN) or isinstance(right, _SHOWN):
        return [f"{in_words(left)} == {in_words(right)}"]
    if isinstance(left, list) and isinstance(right, list) and _has_ours(left, right):
        return [f"[{len(left)} of them] == [{len(right)} of them]", *_of_lists(left, right)]
    return None


def of_statuses(before: Statuses, after: Statuses) -> list[str]:
    """Return what is not the same of some entities."""
    lines: list[str] = []
    for kind, entity_id in {**before, **after}:
        old, new = before.get((kind, entity_id)), after.get((kind, entity_id))
        if old is None or new is None:
            lines.append(f"{kind} {entity_id}: {in_words(old)} -> {in_words(new)}")
        elif old != new:
            lines += (f"{kind} {entity_id}: {line}" for line in _of_fields(old, new, "->"))
    return lines


def in_words(what: object) -> str:
    """Return what a struct says, as people read it in a line."""
    match what:
        case Rejected():
            return f"rejected: {what.reason}: {what.detail}: {shortened(decoded(what.data))}"
        case Removal():
            return f"removed: {what.kind} {what.id}"
        case Change():
            return f"{what.kind} {what.id}: {what.from_phase or 'new'} -> {what.phase}"
        case Status():
            return f"{type(what).__name__}({', '.join(_fields(what))})"
    return repr(what)


def _name(status: Status) -> str:
    return in_words(status) if isinstance(status, Change) else type(status).__name__


def _fields(what: Struct) -> Iterator[str]:
    for name, value in structs.asdict(what).items():
        if value is not None:
            yield f"{name}={value!r}"


def _of_fields(left: Struct, right: Struct, sign: str = "==") -> list[str]:
    others = structs.asdict(right)
    return [
        f"{name}: {value!r} {sign} {others[name]!r}"
        for name, value in structs.asdict(left).items()
        if value != others[name]
    ]


def _has_ours(left: Sequence[Any], right: Sequence[Any]) -> bool:
    return any(isinstance(each, _SHOWN) for each in (*left, *right))


def _of_lists(left: Sequence[Any], right: Sequence[Any]) -> Iterator[str]:
    """Yield the first place at which two lists differ, and what the longer one has besides."""
    for place, (ours, theirs) in enumerate(zip(left, right, strict=False)):
        if ours != theirs:
            yield f"at {place}: {in_words(ours)} == {in_words(theirs)}"
            if isinstance(ours, Struct) and type(ours) is type(theirs):
                yield from (f"  {line}" for line in _of_fields(ours, theirs))
            return
    shared = min(len(left), len(right))
    yield from (f"left has besides: {in_words(each)}" for each in left[shared:])
    yield from (f"right has besides: {in_words(each)}" for each in right[shared:])
