"""What the clients know of a deployment: read once, and again where it may have changed."""

import time

from redis.exceptions import ResponseError

from status_tracker.client.operations import Operation, asked, pairs
from status_tracker.errors import ConfigError, UnavailableError
from status_tracker.keys import Keys
from status_tracker.metadata import Deployment, deployment_of
from status_tracker.text import decoded

LOOKED_FOR = 1.0
"""Seconds for which a reader goes by the rules without asking whether there is a newer revision."""


class Site:
    """A deployment as its `status:meta` tells of it."""

    def __init__(self, prefix: str, within: float) -> None:
        self.prefix = prefix
        self._within = within
        self._meta = Keys(prefix, "single").meta
        self._known: Deployment | None = None
        self._looked = 0.0

    def get(self) -> Operation[Deployment]:
        """Return what is known; raises `ConfigError` where there is no such deployment."""
        return self._known or (yield from self.read())

    def latest(self) -> Operation[Deployment]:
        """Return what is known, unless there are newer rules."""
        known = self._known
        if known is None:
            return (yield from self.read())
        if time.monotonic() - self._looked > LOOKED_FOR:
            revision = yield from asked(("HGET", self._meta, "revision"), self._within)
            self._looked = time.monotonic()
            if revision != str(known.revision).encode():
                return (yield from self.read())
        return known

    def read(self) -> Operation[Deployment]:
        """Read it from the server."""
        try:
            reply = yield from asked(("HGETALL", self._meta), self._within)
        except UnavailableError as error:
            if isinstance(error.__cause__, ResponseError) and "WRONGTYPE" in str(error):
                raise ConfigError(
                    f"{self._meta} is not the hash of a deployment: choose another prefix"
                ) from None
            raise
        fields = {decoded(name): decoded(value) for name, value in pairs(reply).items()}
        found = deployment_of(self.prefix, fields)
        self._known, self._looked = found, time.monotonic()
        return found
