"""What tests of several packages share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import postgres

# How long an example takes depends on what else the machine does.
settings.register_profile("pushy", deadline=None)
settings.load_profile("pushy")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What tests/integration keeps its jobs in."""
    parser.addoption(
        "--store", choices=["sqlite", "postgresql"], default="sqlite", help="of the servers in tests/integration"
    )


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trial's TestCase makes its temporary files where the test stands."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A PostgreSQL for the whole run, started when the first test asks for it."""
    with postgres.server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> str:
    """The URL of a database in it that is new and empty."""
    return postgres_server.create_database()
