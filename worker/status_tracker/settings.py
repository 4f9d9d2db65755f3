"""The settings of a worker: the defaults' file, then the user's, the environment, the options."""

import difflib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from status_tracker.errors import ConfigError
from status_tracker.keys import PREFIX_PATTERN
from status_tracker.logs import LogFormat
from status_tracker.text import shortened
from status_tracker.toml import read_toml
from status_tracker.units import Bytes, Milliseconds, quantity

log: logging.Logger = logging.getLogger(__name__)

ENVIRONMENT_PREFIX = "STATUS_"

# It is a member of a set and stands in logs; "" has one made.
NAME_PATTERN = r"^[^\s\x00-\x1f\x7f-\x9f]*\Z"

SHORTEST_HEARTBEAT = 10
"""Milliseconds: much less, and the fleet would keep the server busy with itself."""

LONGEST_LEASE = 24 * 3_600_000
"""Milliseconds: what a killed worker had would wait for longer than anybody looks away."""

HEARTBEATS_PER_LEASE = 3
"""A lease must outlive a heartbeat that is lost, and the one after it that is late."""

SHORTEST_EVENTS_RETENTION = 1000
"""Milliseconds. Producers that lost a connection look for what they added in the stream."""

LONGEST_LINGER = 1000
"""Milliseconds: beyond that, nobody saves anything, and a batch may grow too large to be one."""

MOST_ENTRIES = 10**12
"""More than fit on a server, and well within the numbers that XTRIM takes."""


_EntriesKept = Annotated[
    int,
    Meta(ge=0, le=MOST_ENTRIES, description=f"a whole number from 0 to {MOST_ENTRIES}"),
]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `config/worker.toml` holds; each setting is explained there, with its default.

    A description is what the line says to write that refuses another value.
    """

    redis_url: Annotated[str, Meta(min_length=1, description="a URL: redis://host:port/db")]
    prefix: Annotated[
        str,
        Meta(
            pattern=PREFIX_PATTERN,
            description="text, not empty, without whitespace, control characters and braces",
        ),
    ]
    partitions: Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1024")]
    layout: Literal["single", "cluster", "auto"]
    name: Annotated[
        str,
        Meta(
            pattern=NAME_PATTERN,
            max_length=200,
            description="at most 200 characters, without whitespace and control characters",
        ),
    ]
    lease_ttl: Milliseconds
    heartbeat: Milliseconds
    rules: Path | None
    """None for the rules that are in force, whatever they are."""
    linger: Milliseconds
    batch_entries: Annotated[int, Meta(ge=1, description="a whole number, at least 1")]
    batch_bytes: Bytes
    live_statuses: Annotated[int, Meta(ge=0, description="a whole number, at least 0")]
    live_bytes: Bytes
    max_changes: _EntriesKept
    max_rejected: _EntriesKept
    events_retention: Milliseconds
    events_retention_for_groups: Milliseconds
    metrics_port: Annotated[int, Meta(ge=0, le=65535, description="a whole number from 0 to 65535")]
    """0: nothing listens."""
    metrics_host: Annotated[
        str, Meta(pattern=NAME_PATTERN, min_length=1, description="an address or a host's name")
    ]
    ready_max_lag: Milliseconds
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: LogFormat


_FILE = Path | None
"""The type of a setting that names a file; None where it is empty."""

_TYPES = {field.name: field.type for field in msgspec.structs.fields(Settings)}


def default_file(name: str) -> Path:
    """Return the path of a file with defaults: beside installed code, else the checkout's."""
    package = Path(__file__).parent
    installed = package / "config" / name
    return installed if installed.exists() else package.parents[1] / "config" / name


def load_settings(
    config: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    options: Mapping[str, object] | None = None,
    defaults: Mapping[str, object] | None = None,
) -> Settings:
    """Read the settings from where they can stand, the later over the earlier.

    `options` are those of the command; one that is None was not given. `defaults` stand over the
    defaults' file, and under all that the user wrote. Raises `ConfigError`, which
    names the file, variable or option.
    """
    settings = _read_file(default_file("worker.toml")) | dict(defaults or {})
    if config is not None:
        settings |= _read_file(config)
    settings |= _read_environment(environment)
    for name, value in (options or {}).items():
        if value is not None:
            settings[name] = _converted(name, value, f"--{name.replace('_', '-')}", Path())
    _check_lease(settings["lease_ttl"], settings["heartbeat"])
    if settings["linger"] > LONGEST_LINGER:
        raise ConfigError(f"linger: {settings['linger']} ms is too long: write at most 1s")
    if settings["events_retention"] < SHORTEST_EVENTS_RETENTION:
        raise ConfigError(
            f"events_retention: {settings['events_retention']} ms is too short: write at least 1s"
        )
    return Settings(**settings)


def _check_lease(ttl: int, heartbeat: int) -> None:
    if ttl > LONGEST_LEASE:
        raise ConfigError(f"lease_ttl: {ttl} ms is too long: write at most 24h")
    if heartbeat < SHORTEST_HEARTBEAT:
        raise ConfigError(f"heartbeat: {heartbeat} ms is too short: write at least 10ms")
    if ttl < HEARTBEATS_PER_LEASE * heartbeat:
        raise ConfigError(
            f"lease_ttl: {ttl} ms is less than {HEARTBEATS_PER_LEASE} heartbeats "
            f"of {heartbeat} ms: a lease would run out before it can be renewed"
        )


def _read_file(path: Path) -> dict[str, Any]:
    found = read_toml(path)
    for name in found:
        if name not in _TYPES:
            hint = _hint(name, list(_TYPES))
            raise ConfigError(f"{path}: {shortened(name)}: no such setting{hint}")
    return {
        name: _converted(name, value, f"{path}: {name}", path.parent)
        for name, value in found.items()
    }


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    settings = {}
    variables = {f"{ENVIRONMENT_PREFIX}{name.upper()}": name for name in _TYPES}
    for variable, value in environment.items():
        if variable in variables:
            name = variables[variable]
            settings[name] = _converted(name, value, variable, Path())
    for slip in slips(environment):
        log.warning("%s", slip, extra={"event": "setting_unknown"})
    return settings


def slips(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield what is to be said of variables that are no settings, but look like slips of some.

    Others may use names that begin like ours, too.
    """
    variables = [f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in _TYPES]
    for variable in environment:
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in variables:
            hint = _hint(variable, variables)
            if hint:
                yield f"{variable}: no such setting{hint}"


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else ""


def _converted(name: str, value: object, source: str, folder: Path) -> Any:
    """Convert one setting; `source` is what an error begins with, `folder` where paths start."""
    wanted = _TYPES[name]
    if wanted == _FILE and value == "":
        return None
    if isinstance(value, str) and wanted != _FILE and any(map(_is_surrogate, value)):
        raise ConfigError(f"{source}: holds bytes that are no UTF-8 text; write others")
    try:
        # Not strict: from the environment, numbers come as text.
        converted = msgspec.convert(value, wanted, strict=False, dec_hook=_special)
    except ValueError:
        # It may hold a password.
        given = "" if name == "redis_url" else f"{shortened(repr(value))}: "
        raise ConfigError(f"{source}: {given}write {_described(wanted)}") from None
    return folder / converted if isinstance(converted, Path) else converted


def _is_surrogate(character: str) -> bool:
    """Tell what Python makes of a byte from the shell that is no text."""
    return "\ud800" <= character <= "\udfff"


def _special(wanted: type, value: object) -> Any:
    """Read what msgspec does not know: durations, sizes and paths."""
    if issubclass(wanted, Milliseconds | Bytes):
        return quantity(wanted, str(value))
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("not a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError("nobody has that home") from None


def _described(wanted: Any) -> str:
    """Say what a setting of a type may be."""
    if wanted == _FILE:
        return "the path of a file"
    if wanted in (Milliseconds, Bytes):
        return str(wanted.examples)
    if get_origin(wanted) is Literal:
        return " or ".join(get_args(wanted))
    return str(get_args(wanted)[1].description)
