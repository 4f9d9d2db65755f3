"""The settings: where they may stand, what they may hold, and what a slip is answered with."""

import logging
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from status_tracker.errors import ConfigError
from status_tracker.settings import Settings, default_file, load_settings

HIDDEN = "hunter2"


def settings_from(
    tmp_path: Path,
    toml: str = "",
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Settings:
    """Load settings with a file of this content, and these variables and options only."""
    config = tmp_path / "mine.toml"
    config.write_text(toml)
    return load_settings(config, environment or {}, options)


def refusal(
    tmp_path: Path,
    toml: str = "",
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
) -> str:
    """Return the one line with which settings are refused."""
    with pytest.raises(ConfigError) as refused:
        settings_from(tmp_path, toml, environment, options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_every_setting_has_a_default_in_the_file() -> None:
    """`config/worker.toml` lists each setting once, and none that is not there."""
    in_file = list(tomllib.loads(default_file("worker.toml").read_text()))
    assert in_file == [field.name for field in msgspec.structs.fields(Settings)]


def test_the_defaults_are_the_contract_s() -> None:
    """The numbers that the contract names are those of the file."""
    defaults = load_settings(environment={})
    assert defaults.prefix == "status"
    assert defaults.partitions == 4
    assert defaults.layout == "single"
    assert defaults.max_rejected == 1_000_000
    assert defaults.rules is None


def test_what_stands_later_wins(tmp_path: Path) -> None:
    """The user's file stands over the defaults, the environment over it, options over all."""
    toml = 'prefix = "file"\npartitions = 5\nlog_level = "debug"'
    environment = {"STATUS_PREFIX": "environment", "STATUS_PARTITIONS": "6"}
    settings = settings_from(tmp_path, toml, environment, {"prefix": "option", "layout": None})
    assert settings.prefix == "option"
    assert settings.partitions == 6
    assert settings.log_level == "debug"
    assert settings.layout == "single"


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(Settings)])
def test_every_setting_has_a_variable(name: str) -> None:
    """Each setting can be given by `STATUS_` and its name, in the form that the file has."""
    default = tomllib.loads(default_file("worker.toml").read_text())[name]
    settings = load_settings(environment={f"STATUS_{name.upper()}": str(default)})
    assert getattr(settings, name) == getattr(load_settings(environment={}), name)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("250ms", 250),
        ("5s", 5_000),
        ("1.5s", 1_500),
        ("2m", 120_000),
        ("1h", 3_600_000),
        (" 5 s ", 5_000),
    ],
)
def test_durations(tmp_path: Path, text: str, milliseconds: int) -> None:
    """A duration is a number with its unit."""
    settings = settings_from(tmp_path, f'heartbeat = "{text}"\nlease_ttl = "24h"')
    assert settings.heartbeat == milliseconds
    environment = {"STATUS_HEARTBEAT": text, "STATUS_LEASE_TTL": "24h"}
    assert settings_from(tmp_path, "", environment) == settings


@pytest.mark.parametrize(
    ("text", "size"),
    [("500B", 500), ("64KiB", 65_536), ("8MiB", 8_388_608), ("1GiB", 2**30), ("0.5KiB", 512)],
)
def test_sizes(tmp_path: Path, text: str, size: int) -> None:
    """A size is a number with its unit."""
    assert settings_from(tmp_path, f'batch_bytes = "{text}"').batch_bytes == size


REFUSED = {
    "duration without unit": ("lease_ttl", "5", 'write "250ms", "5s", "2m", "1h" or "7d"'),
    "unknown unit": ("lease_ttl", '"1w"', 'write "250ms", "5s", "2m", "1h" or "7d"'),
    "negative duration": ("lease_ttl", '"-1s"', 'write "250ms", "5s", "2m", "1h" or "7d"'),
    "endless duration": ("lease_ttl", f'"{"9" * 400}h"', 'write "250ms", "5s", "2m", "1h" or "7d"'),
    "duration for a size": ("batch_bytes", '"5s"', 'write "500B", "64KiB", "8MiB" or "1GiB"'),
    "size in other units": ("batch_bytes", '"8MB"', 'write "500B", "64KiB", "8MiB" or "1GiB"'),
    "size as a list": ("batch_bytes", "[8]", 'write "500B", "64KiB", "8MiB" or "1GiB"'),
    "no number": ("partitions", '"four"', "a whole number from 1 to 1024"),
    "yes for a number": ("partitions", "true", "a whole number from 1 to 1024"),
    "half a number": ("partitions", "4.5", "a whole number from 1 to 1024"),
    "too few": ("partitions", "0", "a whole number from 1 to 1024"),
    "too many": ("partitions", "1025", "a whole number from 1 to 1024"),
    "unknown choice": ("layout", '"sharded"', "write single or cluster or auto"),
    "choice in capitals": ("log_level", '"INFO"', "write debug or info or warning or error"),
    "braces in the prefix": ("prefix", '"{status}"', "'{status}': write text, not empty, without"),
    "space in the prefix": ("prefix", '"my status"', "'my status': write text, not empty, without"),
    "empty prefix": ("prefix", '""', "'': write text, not empty, without"),
    "long name": ("name", f'"{"n" * 201}"', "write at most 200 characters, without"),
    "empty URL": ("redis_url", '""', "write a URL: redis://"),
    "number for a path": ("rules", "5", "write the path of a file"),
    "somebody else's home": ("rules", '"~nobody-at-all/mine"', "write the path of a file"),
    "a book": ("partitions", f'"{"9" * 10_000}"', "99…: write a whole number from 1 to 1024"),
}


@pytest.mark.parametrize(("name", "value", "says"), REFUSED.values(), ids=REFUSED)
def test_a_bad_value_in_a_file(tmp_path: Path, name: str, value: str, says: str) -> None:
    """The line names the file and the setting, and says what to write."""
    message = refusal(tmp_path, f"{name} = {value}")
    assert message.startswith(f"{tmp_path / 'mine.toml'}: {name}: ")
    assert says in message
    assert "Expected" not in message
    assert len(message) < len(str(tmp_path)) + 250


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(Settings)])
def test_every_setting_says_what_may_be_there(tmp_path: Path, name: str) -> None:
    """Whatever slip it is, the way out is in words, not in a library's terms."""
    message = refusal(tmp_path, f"{name} = [[]]")
    given = "" if name == "redis_url" else r"'?\[\[\]\]'?: "
    assert re.fullmatch(rf".*/mine\.toml: {name}: {given}write [^`^\\]+", message)


@pytest.mark.parametrize("name", ["prefix", "name", "redis_url", "partitions", "log_level"])
def test_bytes_that_are_no_text(tmp_path: Path, name: str) -> None:
    """What a shell passes on need not be text; it is refused before it becomes a key."""
    variable = f"STATUS_{name.upper()}"
    message = refusal(tmp_path, environment={variable: os.fsdecode(b"caf\xe9" + HIDDEN.encode())})
    assert message == f"{variable}: holds bytes that are no UTF-8 text; write others"


def test_a_path_need_not_be_text(tmp_path: Path) -> None:
    """File systems know bytes, and so must a path."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.toml")
    assert settings_from(tmp_path, environment={"STATUS_RULES": path}).rules == Path(path)


def test_a_bad_value_elsewhere(tmp_path: Path) -> None:
    """The line names the variable or the option."""
    message = refusal(tmp_path, environment={"STATUS_LEASE_TTL": "5"})
    assert message.startswith("STATUS_LEASE_TTL: '5': write")
    message = refusal(tmp_path, options={"log_level": "loud"})
    assert message.startswith("--log-level: ")


def test_a_bad_value_is_found_though_another_stands_over_it(tmp_path: Path) -> None:
    """A slip in a file does not wait for the day on which the variable is taken away."""
    message = refusal(tmp_path, "partitions = 0", {"STATUS_PARTITIONS": "4"})
    assert "mine.toml: partitions: " in message


def test_an_unknown_setting_is_refused_with_a_guess(tmp_path: Path) -> None:
    """A misspelt name does not leave a default in force unnoticed."""
    message = refusal(tmp_path, "partition = 8")
    assert message.endswith("mine.toml: partition: no such setting; did you mean partitions?")
    message = refusal(tmp_path, "colour = 8")
    assert message.endswith("mine.toml: colour: no such setting")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(None, "cannot be read: No such file or directory", id="missing"),
        pytest.param(b"partitions 4", "line 1", id="no TOML"),
        pytest.param(b"name = '\xff'", "is not UTF-8: byte 8 is 0xff", id="binary"),
        pytest.param(b"name = " + b"[" * 9_000, "too deep in each other", id="deep"),
        pytest.param(b"partitions = " + b"9" * 9_000, "digits", id="a huge number"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    """The line names the file, and where in it the slip is."""
    config = tmp_path / "mine.toml"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_settings(config, {})
    assert str(refused.value).startswith(f"{config}: ")
    assert says in str(refused.value)


def test_rules_stands_beside_the_file_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path in a file is from its folder; one from the shell is from where the shell is."""
    monkeypatch.setenv("HOME", "/home/me")
    toml = 'rules = "lives/mine.toml"'
    assert settings_from(tmp_path, toml).rules == tmp_path / "lives/mine.toml"
    toml = 'rules = "/etc/mine.toml"'
    assert settings_from(tmp_path, toml).rules == Path("/etc/mine.toml")
    toml = 'rules = "~/mine.toml"'
    assert settings_from(tmp_path, toml).rules == Path("/home/me/mine.toml")
    by_variable = settings_from(tmp_path, toml, {"STATUS_RULES": "mine.toml"})
    assert by_variable.rules == Path("mine.toml")
    by_option = settings_from(tmp_path, toml, options={"rules": "other.toml"})
    assert by_option.rules == Path("other.toml")


@pytest.mark.parametrize(
    ("toml", "environment", "options"),
    [
        pytest.param(f'redis_url = ["redis://:{HIDDEN}@h"]', {}, {}, id="a list"),
        pytest.param(f'redis_url = {{ password = "{HIDDEN}" }}', {}, {}, id="a table"),
        pytest.param(f'redis_url = "redis://:{HIDDEN}@h', {}, {}, id="no closing quote"),
        pytest.param(f'redis_ur = "redis://:{HIDDEN}@h"', {}, {}, id="misspelt name"),
        pytest.param(
            "partitions = 0", {"STATUS_REDIS_URL": f"redis://:{HIDDEN}@h"}, {}, id="another slip"
        ),
        pytest.param("", {}, {"redis_url": [HIDDEN]}, id="an option of another type"),
    ],
)
def test_no_error_repeats_the_url(
    tmp_path: Path, toml: str, environment: dict[str, str], options: dict[str, object]
) -> None:
    """A password does not get into a terminal or a log, whatever is wrong."""
    assert HIDDEN not in refusal(tmp_path, toml, environment, options)


def test_a_close_miss_among_the_variables_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A misspelt variable is told of by name and not by value; other programs' are left alone."""
    environment = {
        "STATUS_REDIS_URI": f"redis://:{HIDDEN}@h",
        "STATUS_PAGE_TOKEN": "x",
        "STATUS": "x",
        "PARTITIONS": "x",
    }
    with caplog.at_level(logging.WARNING):
        settings = settings_from(tmp_path, "", environment)
    assert settings == settings_from(tmp_path)
    assert caplog.messages == ["STATUS_REDIS_URI: no such setting; did you mean STATUS_REDIS_URL?"]


def test_a_linger_is_short(tmp_path: Path) -> None:
    """None at all will do; one that people would notice is a slip."""
    assert settings_from(tmp_path, 'linger = "0ms"').linger == 0
    with pytest.raises(ConfigError, match="linger: 1500 ms is too long: write at most 1s"):
        settings_from(tmp_path, 'linger = "1500ms"')


@pytest.mark.parametrize(
    ("ttl", "heartbeat", "named"),
    [
        ("1s", "500ms", "lease_ttl: 1000 ms is less than 3 heartbeats of 500 ms"),
        ("1s", "9ms", "heartbeat: 9 ms is too short"),
        ("25h", "1s", "lease_ttl: 90000000 ms is too long"),
    ],
)
def test_leases_that_cannot_work(ttl: str, heartbeat: str, named: str) -> None:
    """A lease outlives some heartbeats, and is over before everybody has forgotten its owner."""
    with pytest.raises(ConfigError, match=named):
        load_settings(environment={"STATUS_LEASE_TTL": ttl, "STATUS_HEARTBEAT": heartbeat})


def test_a_lease_of_three_heartbeats_works() -> None:
    """The shortest that may be configured."""
    environment = {"STATUS_LEASE_TTL": "1.5s", "STATUS_HEARTBEAT": "500ms"}
    assert load_settings(environment=environment).lease_ttl == 1500
