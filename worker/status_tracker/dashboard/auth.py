"""Who may ask: by a bearer token, by Basic, or by a proxy in front that has asked already."""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from starlette.requests import HTTPConnection

from status_tracker.errors import ConfigError

FORMS = (
    "write bearer:file:PATH, bearer:env:NAME, basic:file:PATH, basic:env:NAME, "
    "or proxy:HEADER:ADDRESS[,ADDRESS]"
)

SHORTEST_SECRET = 16
"""Characters of a token."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Auth(Struct, frozen=True):
    """How a request says who asks."""

    allows: Callable[[HTTPConnection], bool]
    challenge: str | None = None
    """What an answer 401 says in `WWW-Authenticate`."""


def bearer(token: str) -> Auth:
    """Ask for ``Authorization: Bearer TOKEN``."""
    if len(token) < SHORTEST_SECRET:
        raise ValueError(f"the token has less than {SHORTEST_SECRET} characters")
    return _authorization("Bearer", token.encode())


def basic(user: str, password: str) -> Auth:
    """Ask for a user and a password."""
    if not user or not password:
        raise ValueError("user and password: write USER:PASSWORD")
    return _authorization("Basic", f"{user}:{password}".encode())


def _authorization(scheme: str, secret: bytes) -> Auth:
    def allows(connection: HTTPConnection) -> bool:
        given, _, value = connection.headers.get("authorization", "").partition(" ")
        if given.lower() != scheme.lower():
            return False
        # Headers are latin-1; in constant time, whatever the length is.
        said = value.strip().encode("latin-1", errors="replace")
        if scheme == "Basic":
            try:
                said = base64.b64decode(said, validate=True)
            except binascii.Error:
                return False
        return hmac.compare_digest(said, secret)

    return Auth(allows, f'{scheme} realm="status-tracker"')


def proxy(header: str, addresses: Sequence[str]) -> Auth:
    """Believe a header of a proxy that asked already, from these addresses or networks only."""
    networks: list[Network] = [ipaddress.ip_network(each, strict=False) for each in addresses]
    if not header or not networks:
        raise ValueError("a header's name and an address are needed")

    def allows(connection: HTTPConnection) -> bool:
        if not connection.headers.get(header, "").strip() or connection.client is None:
            return False
        try:
            peer = ipaddress.ip_address(connection.client.host)
        except ValueError:  # a UNIX socket has none
            return False
        return any(peer in network for network in networks)

    return Auth(allows)


def parse_auth(text: str, environment: Mapping[str, str]) -> Auth:
    """Read the value of `--auth`; raises `ConfigError`, which never shows a secret."""
    way, _, rest = text.partition(":")
    first, _, last = rest.partition(":")
    try:
        if way == "proxy":
            return proxy(first, [each for each in last.split(",") if each])
        if way in ("bearer", "basic"):
            secret = _secret(first, last, environment)
            return bearer(secret) if way == "bearer" else basic(*_pair(secret))
    except ValueError as error:
        raise ConfigError(f"--auth {way}: {error}; {FORMS}") from None
    raise ConfigError(f"--auth: {FORMS}")


def _secret(source: str, name: str, environment: Mapping[str, str]) -> str:
    if source == "env":
        found = environment.get(name)
        if not found:
            raise ValueError(f"{name} is not in the environment")
        return found.strip()
    if source == "file":
        try:
            return Path(name).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"{name}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{name}: holds bytes that are no UTF-8 text") from None
    raise ValueError("the secret is in a file or in the environment")


def _pair(secret: str) -> tuple[str, str]:
    user, _, password = secret.partition(":")
    return user, password
