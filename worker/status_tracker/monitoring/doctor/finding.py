"""What a check says, and what becomes of one that could not look."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Literal, TypeVar

from msgspec import Struct

from status_tracker.connection.client import UNAVAILABLE

Family = Literal["server", "deployment", "producers", "configuration"]
Level = Literal["ok", "warn", "fail"]

LEVELS: tuple[Level, ...] = ("ok", "warn", "fail")
"""From the best to the worst."""

LOOKS_FOR = 20.0
"""Seconds after which a look is given up: a person waits."""

T = TypeVar("T")


class Finding(Struct, frozen=True):
    """A verdict, with the check that it is of."""

    family: Family
    check: str
    level: Level
    found: str
    mend: str


class Verdict(Struct, frozen=True):
    """What a check says of what was seen."""

    level: Level
    found: str
    mend: str = ""
    """What to do."""

    def of(self, family: Family, check: str, about: str = "") -> Finding:
        """Return it as a finding; `about` stands before what was found."""
        return Finding(family, check, self.level, about + self.found, self.mend)


class UnseenError(Exception):
    """Something could not be looked at; the message says why."""


Checks = Mapping[str, Callable[[T], Iterator[Verdict]]]
"""The checks of a family, by what they are called."""


def ok(found: str) -> Verdict:
    """Say that all is well."""
    return Verdict("ok", found)


def warn(found: str, mend: str) -> Verdict:
    """Say that something may go wrong, or did so once."""
    return Verdict("warn", found, mend)


def fail(found: str, mend: str) -> Verdict:
    """Say that something is wrong."""
    return Verdict("fail", found, mend)


def unseen(why: object) -> Verdict:
    """Say that nobody knows."""
    return warn(f"could not look: {why}", "mend that, and look again")


def judged(family: Family, checks: Checks[T], seen: T, about: str = "") -> Iterator[Finding]:
    """Yield the findings of checks; each that has nothing to judge says why.

    `about` stands before what was found: the address, where there are several servers.
    """
    for name, check in checks.items():
        try:
            for verdict in check(seen):
                yield verdict.of(family, name, about)
        except UnseenError as error:
            yield unseen(error).of(family, name, about)


async def attempt(look: Awaitable[T]) -> T | UnseenError:
    """Return what is seen, or why nothing is."""
    try:
        async with asyncio.timeout(LOOKS_FOR):
            return await look
    except TimeoutError:
        return UnseenError(f"no answer within {LOOKS_FOR:g} s")
    except UnseenError as error:
        return error
    except UNAVAILABLE as error:
        return UnseenError(str(error) or type(error).__name__)


def known(seen: T | UnseenError) -> T:
    """Return what was seen; raises `UnseenError` where nothing was."""
    if isinstance(seen, UnseenError):
        raise seen
    return seen
