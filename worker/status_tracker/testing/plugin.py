"""The pytest plugin, which is loaded in every run of pytest where the package is installed.

So whatever it needs is imported when a test asks for the fixture.
"""

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from status_tracker.testing.kit import Kit
    from status_tracker.testing.places import Places

FIXTURE = "status_tracker"

MOST_LINES = 40
"""Of what is said of a test that failed."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where the keys of tests are."""
    parser.getgroup("status-tracker").addoption(
        "--status-tracker-server",
        default="memory",
        metavar="memory|embedded|URL",
        help="where the fixture `status_tracker` has its keys: in memory, on a server that is "
        "started for the tests, or on one of yours, under a prefix that is removed again",
    )


@pytest.fixture(scope="session")
def _status_tracker_places(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Places]":
    """Make places for keys, on one server for all tests."""
    from status_tracker.errors import ConfigError  # noqa: PLC0415
    from status_tracker.testing.places import places  # noqa: PLC0415

    try:
        server = request.config.getoption("--status-tracker-server")
        with places(server, tmp_path_factory.mktemp("status-tracker")) as made:
            yield made
    except ConfigError as error:
        pytest.fail(f"{FIXTURE}: {error}", pytrace=False)


@pytest.fixture
def status_tracker(_status_tracker_places: "Places") -> "Iterator[Kit]":
    """A deployment of the test's own: emit to it, settle, and look what became of it."""
    from status_tracker.errors import ConfigError, UnavailableError  # noqa: PLC0415
    from status_tracker.testing.kit import Kit  # noqa: PLC0415

    try:
        with _status_tracker_places() as place, Kit(place.url, place.prefix) as kit:
            yield kit
    except (ConfigError, UnavailableError) as error:
        pytest.fail(f"{FIXTURE}: {error}", pytrace=False)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say what is not the same of two statuses, or of lists of changes or rejections."""
    if "status_tracker.testing.kit" not in sys.modules:
        return None
    from status_tracker.testing.differences import explained  # noqa: PLC0415

    return explained(op, left, right)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a test that failed what became of its updates."""
    report = yield
    kit: Kit | None = getattr(item, "funcargs", {}).get(FIXTURE)
    if report.when == "call" and report.failed and kit is not None:
        report.sections.append((FIXTURE, _told(kit)))
    return report


def _told(kit: "Kit") -> str:
    try:
        lines = list(kit.report())
    except Exception as error:  # noqa: BLE001 - whatever it is, the test's own failure counts
        return f"cannot be read: {error}"
    more = [f"… and {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else []
    return "\n".join([*lines[:MOST_LINES], *more]) or "nothing was emitted"
