"""A file of updates, one JSON document a line: read twice, to be checked and to be sent.

What it has in common with a file of ids stands here, too.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import click

from status_tracker.client.updates import Checker, Emission
from status_tracker.errors import InputError, UpdateError
from status_tracker.text import escaped

STDIN = Path("-")

PROBLEMS_SHOWN = 10

IN_MEMORY = 8 * 2**20
"""Bytes of standard input that are kept in memory; where there are more, all are in a file."""


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a file that can be read twice; standard input is kept, to its end."""
    if file == STDIN:
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as kept:
            shutil.copyfileobj(sys.stdin.buffer, kept)
            yield kept
        return
    try:
        with file.open("rb") as found:
            yield found
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None


def lines_of(file: IO[bytes], most: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, by number; of one that is too long, the beginning."""
    file.seek(0)
    number = 0
    # One that is cut is still too large.
    while line := file.readline(most + 2):
        number += 1
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(most)
        if line.strip():
            yield number, line.strip()


def refuse(name: str, problems: Sequence[str]) -> None:
    """Raise `InputError`, and print which lines of a file cannot be sent, where there are some."""
    if len(problems) == 1:
        raise InputError(f"{problems[0]}; nothing was sent")
    if problems:
        for each in problems[:PROBLEMS_SHOWN]:
            click.echo(escaped(each), err=True)
        raise InputError(f"{name}: {len(problems):,} lines cannot be sent; nothing was sent")


class Checked(NamedTuple):
    """What a file has that can be sent."""

    total: int
    """How many updates."""
    digest: str
    """Of those that were sent before."""


class UpdatesFile:
    """The updates in a file."""

    def __init__(
        self, name: str, file: IO[bytes], checker: Checker, *, began: int, most: int
    ) -> None:
        self._name = name
        self._file = file
        self._checker = checker
        self._began = began
        self._most = most

    def check(self, sent: int) -> Checked:
        """Look at every line, before any is sent; `sent` were so before.

        Raises `InputError` where one cannot be sent, and prints which, and why.
        """
        digest, total, problems = Digest(), 0, []
        for number, line in lines_of(self._file, self._most):
            try:
                emission = self._emission(number, line)
            except UpdateError as error:
                problems.append(f"{self._name}:{number}: {error}")
                continue
            if total < sent:
                digest.add(emission)
            total += 1
        refuse(self._name, problems)
        return Checked(total, digest.text)

    def updates(self, skipped: int) -> Iterator[Emission]:
        """Yield the updates after some that were sent, from the beginning of the file."""
        for number, line in islice(lines_of(self._file, self._most), skipped, None):
            yield self._emission(number, line)

    def _emission(self, number: int, line: bytes) -> Emission:
        try:
            return self._checker.check_bytes(line)
        except UpdateError as error:
            if str(error).startswith("updatedAt: missing"):
                # The same one in every run, and later than that of the line before.
                at = self._began + number / 1000
                return self._checker.check_bytes(line[:-1] + b',"updatedAt":%r}' % at)
            raise


class Digest:
    """Tells whether updates are those that were sent."""

    def __init__(self) -> None:
        self._hash: Any = blake2b(digest_size=16)

    def add(self, emission: Emission) -> None:
        """Take in the next one."""
        self._hash.update(emission.data + b"\n")

    @property
    def text(self) -> str:
        """What is noted of all so far."""
        return str(self._hash.hexdigest())
