"""From a URL to a client: what can be used, and that a password is told to nobody."""

import pytest
from redis.asyncio.sentinel import SentinelConnectionPool
from status_tracker.connection.server import Server
from status_tracker.connection.url import connect, without_secrets
from status_tracker.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://me:hunter2@host:6379/1", "redis://host:6379/1"),
        ("redis://:hunter2@host", "redis://host"),
        ("redis://me@host", "redis://host"),
        ("redis://:hunter2%40@host", "redis://host"),
        ("redis://:hunter2@more@host", "redis://host"),
        ("redis://host/0?password=hunter2", "redis://host/0"),
        ("redis://host/0#hunter2", "redis://host/0"),
        ("rediss://me:hunter2@[::1]:6379/0?ssl_keyfile=x", "rediss://[::1]:6379/0"),
        ("unix:///run/redis.sock?db=1&password=hunter2", "unix:///run/redis.sock"),
        ("unix://me:hunter2@/run/redis.sock", "unix:///run/redis.sock"),
        ("redis://me:hunter2@h:1,i:2/0", "redis://h:1,i:2/0"),
        (
            "redis+sentinel://:hunter2@h:1,i:2/mymaster/0?sentinel_password=hunter2",
            "redis+sentinel://h:1,i:2/mymaster/0",
        ),
    ],
)
def test_without_secrets(url: str, shown: str) -> None:
    """A log shows which server it is about, and nothing that lets anyone in."""
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "redis://h:6380/15",
        "redis://[::1]:6379",
        "redis://me:pa%2Fss%3F%23%40%3A%25@h",
        "rediss://h:6380/0?ssl_cert_reqs=none",
        "redis://h?db=3",
        "unix:///run/redis.sock?db=1",
        "redis://me:pass@h:1,i:2,[::1]:3",
        "redis+sentinel://h:1,i/mymaster",
        "rediss+sentinel://me:pass@h:1,i:2/mymaster/3?ssl_cert_reqs=none&sentinel_password=x",
    ],
)
def test_urls_that_can_be_used(url: str) -> None:
    """Each form of URL makes a client, before anything is connected."""
    assert isinstance(connect(url), Server)


def test_the_password_arrives() -> None:
    """What is written as %2F in the URL is a slash to the server."""
    client = connect("redis://me:pa%2Fss%3F%40%25@h:1/2")
    given = client._pool.connection_kwargs
    assert (given["username"], given["password"]) == ("me", "pa/ss?@%")
    assert (given["host"], given["port"], given["db"]) == ("h", 1, 2)


def test_a_url_that_is_none_is_not_shown() -> None:
    """Where it cannot be taken apart, it cannot be said what of it is a password."""
    assert without_secrets("redis://me:hun\uff1ater2@h") == "redis_url"
    assert without_secrets("redis://:hunter2@[::1") == "redis_url"


def test_sentinels_have_passwords_of_their_own() -> None:
    """Neither is told to the other: the master's goes to the master only."""
    url = "rediss+sentinel://me:pa%2Fss@h:1,i/my%20master/3?sentinel_password=s%26t&ssl_cert_reqs=none"
    pool = connect(url)._pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "my master"
    given = pool.connection_kwargs
    assert (given["username"], given["password"], given["db"]) == ("me", "pa/ss", 3)
    sentinels = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in sentinels] == [("h", 1), ("i", 26379)]
    for each in sentinels:
        assert (each["username"], each["password"], each["db"]) == (None, "s&t", 0)
        assert each["ssl_cert_reqs"] == "none"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("", id="empty"),
        pytest.param("localhost:6379", id="no scheme"),
        pytest.param("http://:hunter2@h", id="http"),
        pytest.param("redis:/:hunter2@h", id="one slash"),
        pytest.param("redis://:hunter2@h/abc", id="database by name"),
        pytest.param("redis://:hunter2@h/0/1", id="two databases"),
        pytest.param("redis://:hunter2@h?db=abc", id="database by name, as an option"),
        pytest.param("redis://:hunter2@h:port", id="port by name"),
        pytest.param("redis://:hunter2@h:65536", id="port out of range"),
        pytest.param("redis://:hunter2@[::1", id="bracket left open"),
        pytest.param("redis://:hun/ter2@h", id="slash in the password"),
        pytest.param("redis://:hun?ter2@h", id="question mark in the password"),
        pytest.param("redis://:hun#ter2@h", id="hash in the password"),
        pytest.param("redis://:1/hunter2@h", id="slash after a number"),
        pytest.param("redis://:1?hunter2@h", id="question mark after a number"),
        pytest.param("redis://:1#hunter2@h", id="hash after a number"),
        pytest.param("redis:// h", id="space"),
        pytest.param("unix://", id="no socket"),
        pytest.param("redis://:hunter2@h:1,i:port", id="second port by name"),
        pytest.param("redis+sentinel://:hunter2@h:1", id="Sentinels of no service"),
        pytest.param("redis+sentinel://:hunter2@h:1/a/b", id="database by name, of Sentinels"),
        pytest.param("redis+sentinel://:hun/ter2@h:1/a", id="slash, of Sentinels"),
        pytest.param("redis+sentinel://h:1/a?hunter2=x", id="unknown option, of Sentinels"),
        pytest.param("redis+sentinel://:1/hunter2@h:1", id="slash and no service, of Sentinels"),
        pytest.param("redis+sentinel:///a", id="no Sentinel"),
        pytest.param("redis://:hunter2@h:1,", id="empty host"),
        pytest.param("redis://me:hun\uff1ater2@h", id="full-width colon in the password"),
        pytest.param("unix+sentinel://:hunter2@h:1/a", id="Sentinels by socket"),
        pytest.param("redis://:hunter2@h?foo=1", id="unknown option"),
        pytest.param("redis://:hunter2@h?socket_timeout=soon", id="option of another type"),
        pytest.param("rediss://:hunter2@h?ssl_cert_reqs=maybe", id="unknown ssl_cert_reqs"),
        pytest.param("redis://:hunter2@h?protocol=9", id="unknown protocol"),
        pytest.param("redis://:hunter2@h?retry=3", id="retry as a number"),
    ],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    """Each is refused in one line that says how to write it, and repeats no part of a password."""
    with pytest.raises(ConfigError) as refused:
        connect(url)
    message = str(refused.value)
    assert message.startswith("redis_url: ")
    assert "\n" not in message
    assert "hun" not in message
    assert "ter2" not in message


@pytest.mark.parametrize("option", ["protocol=3", "decode_responses=true"])
def test_an_option_that_changes_replies_is_refused(option: str) -> None:
    """The worker reads replies in one form: a URL that asks for another is not taken."""
    with pytest.raises(ConfigError):
        connect(f"redis://h?{option}")
