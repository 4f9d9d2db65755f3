"""What is noted of a file that is being sent, so that whoever goes on sends nothing twice."""

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from status_tracker.errors import InputError, OutputError


class Notes(Struct, frozen=True):
    """How far a file was sent."""

    began: int
    """When it was begun, in ms since the epoch: the time of updates that have none."""
    updates: int
    """How many of its updates were sent."""
    digest: str
    """Of those updates."""
    last: dict[str, str]
    """Stream → the ID after which the entries of later ones stand."""


_decode = msgspec.json.Decoder(Notes).decode


def notes_of(file: Path) -> Path:
    """Return where the notes of a file are."""
    return file.with_name(f"{file.name}.sent")


def read_notes(file: Path) -> Notes | None:
    """Return the notes of a file; None where there are none. Raises `InputError`."""
    path = notes_of(file)
    try:
        return _decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise InputError(f"{path}: these are no notes: delete it to send all of {file}") from None


def write_notes(file: Path, notes: Notes) -> None:
    """Write the notes of a file, all or nothing; raises `OutputError`."""
    path = notes_of(file)
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb") as output:
            output.write(msgspec.json.encode(notes))
            output.flush()
            os.fsync(output.fileno())
        new.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror}; without notes: --from-file - < {file}"
        ) from None
