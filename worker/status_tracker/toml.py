"""Reading a TOML file that somebody wrote."""

from pathlib import Path
from typing import Any

import msgspec

from status_tracker.errors import ConfigError


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a file holds.

    Raises `ConfigError`, which names the file and, if it is no TOML, the place in it.
    """
    try:
        found: dict[str, Any] = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ConfigError(f"{path}: is not UTF-8: byte {error.start} is {byte:#x}") from None
    except RecursionError:
        raise ConfigError(f"{path}: lists or tables are too deep in each other") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    return found
