"""Mend the places of entities in sorted sets of ids."""

from collections.abc import Sequence

from status_tracker.connection.client import Client
from status_tracker.lua.script import Call, Script

_script = Script("reindex")


def call(
    *,
    status: bytes,
    history: bytes,
    ids: str,
    counts: str | None,
    phase: str | None,
    entity_id: bytes,
    document: bytes | None,
    newest: bytes | None,
    held: bytes | None,
    wanted: str | None,
) -> Call:
    """Return what the script is called with for one entity and one set, `ids`.

    `counts` and `phase` are None for the marks of stalled entities. `document`, `newest` and `held`
    are what it was judged by; `wanted` is the score that it gets, None to take it out.
    """
    keys: list[str | bytes] = [status, history, ids, *([] if counts is None else [counts])]
    judged_by = (document or b"", newest or b"", held or b"")
    return Call(keys, [entity_id, *judged_by, wanted or "", phase or ""])


async def reindex(client: Client, calls: Sequence[Call]) -> list[bool]:
    """Mend places; tell of each whether that was done, and nothing had moved."""
    return [reply == 1 for reply in await _script.run_all(client, calls)]
