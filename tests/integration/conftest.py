"""The server of a module of wire tests, with the settings that the module names in ``SETTINGS``."""

from collections.abc import Iterator

import pytest

from tests.integration.wire_2x import Wire, serving


@pytest.fixture(scope="module")
def module_wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with serving(tmp_path_factory.mktemp("pushyd"), request.module.SETTINGS) as wire:
        yield wire


@pytest.fixture
def wire(module_wire: Wire) -> Iterator[Wire]:
    yield module_wire
    module_wire.release()
