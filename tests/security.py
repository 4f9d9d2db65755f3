"""Servers as `docs/operating/security.md` has them: with the users of `config/users.acl`, and TLS.

Each test server may be one of these; with SECURED=1 all of them are (`make acceptance`), but those
that say otherwise.
"""

import os
import re
import subprocess
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

USERS = Path(__file__).parents[1] / "config/users.acl"

SECURED = os.environ.get("SECURED") == "1"

_PLACEHOLDER = re.compile(r"#SHA256-OF-THE-PASSWORD-OF-(\w+)")
_SCHEME_AND_LOGIN = re.compile(r"^([a-z+]+://)([^@/]*@)?")


class Certificates(NamedTuple):
    """What both ends of a connection show each other: here it is one pair of files for both."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def options(self) -> list[str]:
        """Return what a server is started with: it wants a certificate of each client."""
        return [
            *("--tls-ca-cert-file", str(self.authority)),
            *("--tls-cert-file", str(self.certificate)),
            *("--tls-key-file", str(self.key)),
        ]

    @property
    def query(self) -> str:
        """Return the part of a URL that says the same to a client."""
        files = {
            "ssl_ca_certs": self.authority,
            "ssl_certfile": self.certificate,
            "ssl_keyfile": self.key,
        }
        return urlencode(files, safe="/")


def password_of(user: str) -> str:
    """Return the password that a user has in the tests."""
    return f"{user}-s3cret"


def users() -> str:
    """Return the shipped file, with the passwords of the tests."""

    def hashed(match: re.Match[str]) -> str:
        return "#" + sha256(password_of(match[1].lower()).encode()).hexdigest()

    return _PLACEHOLDER.sub(hashed, USERS.read_text())


def as_operator(url: str) -> str:
    """Return the URL of a test server, or of several, whose users are the shipped ones."""
    return logged_in(url, "operator", password_of("operator"))


def logged_in(url: str, user: str, password: str) -> str:
    """Return a URL with another user than it has, or than none."""
    return _SCHEME_AND_LOGIN.sub(rf"\g<1>{user}:{password}@", url, count=1)


def as_user(user: str, url: str) -> str:
    """Return the URL of a test server, or of several, as another user than the operator.

    Where the server has no users, or the test has its own, it stays as it is.
    """
    is_operator = f"//operator:{password_of('operator')}@" in url
    return logged_in(url, user, password_of(user)) if is_operator else url


@cache
def has_tls(binary: Path) -> bool:
    """Tell whether a server can do TLS: one that can asks for a certificate, and ends."""
    asked = [str(binary), "--port", "0", "--tls-port", "1"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10)
    return "tls-cert-file" in said.stdout


@cache
def certificates() -> Certificates:
    """Return files that are made once in each process of tests, and end with it."""
    folder = Path(_folder().name)
    made = Certificates(folder / "authority.crt", folder / "end.crt", folder / "end.key")
    authority_key = folder / "authority.key"
    _openssl("/CN=the authority of the tests", authority_key, made.authority)
    _openssl(
        *("/CN=an end of the tests", made.key, made.certificate),
        *("-CA", made.authority, "-CAkey", authority_key),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
        *("-addext", "basicConstraints=critical,CA:false"),
    )
    return made


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="certificates-")


def _openssl(name: str, key: Path, certificate: Path, *options: str | Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", name, "-keyout", str(key), "-out"]
    subprocess.run(
        [*command, str(certificate), *map(str, options)], capture_output=True, check=True
    )
