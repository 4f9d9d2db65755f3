"""A file of ids, one a line, which is checked before anything is sent."""

from pathlib import Path

from status_tracker.cli.updates_file import lines_of, opened, refuse
from status_tracker.decode import invalid_id

LONGEST = 4 * 256
"""Bytes of an id."""


def ids_in(file: Path) -> list[str]:
    """Return the ids in a file; raises `InputError`, and prints which lines hold none."""
    ids, problems = [], []
    with opened(file) as found:
        for number, line in lines_of(found, LONGEST):
            try:
                each = line.decode()
            except UnicodeDecodeError:
                problems.append(f"{file}:{number}: holds bytes that are no UTF-8 text")
                continue
            refused = invalid_id(each)
            if refused is not None:
                problems.append(f"{file}:{number}: {refused.detail}")
            ids.append(each)
    refuse(str(file), problems)
    return ids
