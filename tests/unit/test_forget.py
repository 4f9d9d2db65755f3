"""What `forget` makes of its arguments, before it asks any server."""

from pathlib import Path

import pytest
from status_tracker.cli.forget import line
from status_tracker.cli.forget.ids import ids_in
from status_tracker.cli.forget.removing import Became, Forgotten
from status_tracker.errors import InputError
from status_tracker.models import Status

from tests.command import invoked
from tests.events import NOW

RUNNING = Status(phase="running", updated_at=NOW)
WHEN = "updated 2023-11-14 22:13:20Z"
AGAIN = "again: an update came after it"
PENDING = Status(phase="pending", updated_at=NOW + 1_000)


def test_a_file_of_ids(tmp_path: Path) -> None:
    """One a line; empty lines and the ends of lines that Windows writes are none."""
    file = tmp_path / "ids"
    file.write_bytes("a\n\n  b\r\nw\u00e4re".encode())
    assert ids_in(file) == ["a", "b", "wäre"]


def test_lines_that_are_no_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is named by its number, and none is sent."""
    file = tmp_path / "ids"
    file.write_bytes(b"good\n" + b"x" * 300 + b"\n\xff\na b\n" + b"y" * 5_000 + b"\ngood\n")
    with pytest.raises(InputError, match=r"ids: 4 lines cannot be sent; nothing was sent"):
        ids_in(file)
    long, no_text, space, longer = capsys.readouterr().err.splitlines()
    assert long.startswith(f"{file}:2: id: 'xxx")
    assert no_text == f"{file}:3: holds bytes that are no UTF-8 text"
    assert space.startswith(f"{file}:4: id: 'a b'; must be text of 1 to 256 characters")
    assert longer.startswith(f"{file}:5: id: 'yyy")
    file.write_bytes(b"good\na{b}\n")
    with pytest.raises(InputError, match=r"ids:2: id: 'a\{b\}'; .*; nothing was sent"):
        ids_in(file)
    with pytest.raises(InputError, match="cannot be read"):
        ids_in(tmp_path / "none")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["task"], "give one of IDs and --from-file FILE"),
        (["task", "a", "--from-file", "-"], "give one of IDs and --from-file FILE"),
        (["task", "a b"], "id: 'a b'; must be text"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], says: str) -> None:
    """It ends in 2, and no server is asked."""
    found = invoked("forget", *arguments, "--redis-url", "redis://127.0.0.1:1")
    assert (found.code, found.out) == (2, "")
    assert says in found.err


@pytest.mark.parametrize(
    ("became", "before", "after", "said"),
    [
        ("gone", RUNNING, None, f"was running, {WHEN}; is gone"),
        ("gone", None, None, "was without a status that can be read; is gone"),
        ("none", None, None, "there was none"),
        (
            *("back", RUNNING, PENDING),
            f"was running, {WHEN}; is pending, updated 2023-11-14 22:13:21Z, {AGAIN}",
        ),
        (
            *("back", None, PENDING),
            f"is pending, updated 2023-11-14 22:13:21Z, {AGAIN}",
        ),
        ("unreadable", None, None, "status:task:a holds no status: delete the key"),
    ],
)
def test_what_is_said_of_each(
    became: Became, before: Status | None, after: Status | None, said: str
) -> None:
    """What it was and what it is, in a line."""
    assert line(Forgotten("a", "status:task:a", became, before, after)) == f"a: {said}"
