"""The server of a module of wire tests, with the settings that the module names in ``SETTINGS``."""

from collections.abc import Iterator

import pytest

from tests.integration.wire_2x import Wire


@pytest.fixture(scope="module")
def serving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    wire = Wire(tmp_path_factory.mktemp("pushyd"), request.module.SETTINGS)
    try:
        wire.start()
        yield wire
    finally:
        wire.close()


@pytest.fixture
def wire(serving: Wire) -> Iterator[Wire]:
    yield serving
    serving.release()
