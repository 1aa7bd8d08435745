"""Servers for these tests: over SQLite, or over PostgreSQL with ``--store=postgresql``.

A module of wire tests names the settings of its server in ``SETTINGS``.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from demo.fleet import Fleet
from tests.integration.wire_2x import Wire, serving

NewFleet = Callable[..., AbstractContextManager[Fleet]]
"""Called with a directory and, if need be, the server's settings; what was started is ended on the way out."""


@pytest.fixture(scope="session")
def new_fleet(request: pytest.FixtureRequest) -> NewFleet:
    """Makes fleets, none of which runs yet."""

    @contextmanager
    def make(directory: Path, settings: Mapping[str, object] | None = None) -> Iterator[Fleet]:
        database: dict[str, object] = {}
        if request.config.getoption("--store") == "postgresql":
            database = {"database_url": request.getfixturevalue("postgres_server").create_database()}
        fleet = Fleet(directory, {**database, **(settings or {})})
        try:
            yield fleet
        finally:
            fleet.close()

    return make


@pytest.fixture(scope="module")
def module_wire(
    request: pytest.FixtureRequest, new_fleet: NewFleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Wire]:
    with new_fleet(tmp_path_factory.mktemp("pushyd"), request.module.SETTINGS) as fleet, serving(fleet) as wire:
        yield wire


@pytest.fixture
def wire(module_wire: Wire) -> Iterator[Wire]:
    yield module_wire
    module_wire.release()
