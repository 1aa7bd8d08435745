"""The system's clock is set while a job runs, forth and back: of real processes, each with a clock that can be set.

They start with a module before all others (`sitecustomize`) that adds to `time.time` what a file says.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from tests.integration.jobs import start, wait_for_nodes

NODE = "c1"
CLOCK = """
import os, time

_real = time.time
_file = os.environ["CLOCK_IS_OFF_BY"]

def _time():
    with open(_file) as file:
        return _real() + float(file.read())

time.time = _time
"""
MAX_SKEW = 300
HOUR = 3600


class Clocks:
    """The clocks of processes that are started within :meth:`of`."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._monkeypatch = monkeypatch
        (directory / "sitecustomize.py").write_text(CLOCK)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(directory), *filter(None, [os.getenv("PYTHONPATH")])]))

    def of(self, process: str) -> None:
        """What is started next has this clock."""
        self.set(process, 0)
        self._monkeypatch.setenv("CLOCK_IS_OFF_BY", str(self._directory / process))

    def set(self, process: str, offset: float) -> None:
        """Have it off by so many seconds."""
        new = self._directory / f"{process}.new"
        new.write_text(str(offset))
        new.rename(self._directory / process)


@pytest.fixture
def clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    directory = tmp_path / "clocks"
    directory.mkdir()
    return Clocks(directory, monkeypatch)


@pytest.fixture
def fleet(tmp_path: Path, clocks: Clocks) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path / "fleet", {"heartbeat_interval": 200})
    gate = f"sh -c 'until [ -e {tmp_path}/gate ]; do sleep 0.05; done; echo through'"
    try:
        clocks.of("server")
        fleet.start_server()
        clocks.of("agent")
        fleet.start_agent(NODE, {"gate": gate, "say": "echo here"})
        wait_until(lambda: fleet.available([NODE]) or None, "the agent available", seconds=30)
        yield fleet
    finally:
        fleet.close()


def test_both_clocks_are_set_and_everything_goes_on(fleet: Fleet, clocks: Clocks, tmp_path: Path) -> None:
    """As far as the peers' messages are still believed nothing else may depend on the time of day."""
    job = start(fleet, "gate", [NODE], run_timeout=MAX_SKEW / 2)
    wait_for_nodes(fleet, job, {"running": [NODE]})
    for offset in (MAX_SKEW - 60, -(MAX_SKEW - 60)):
        clocks.set("agent", offset)
        clocks.set("server", offset)
        # That the node is busy it says at once.
        wait_for_nodes(fleet, start(fleet, "say", [NODE]), {"nacked": [NODE]})
    (tmp_path / "gate").touch()
    wait_for_nodes(fleet, job, {"succeeded": [NODE]})
    # The server's access log has the time of day, not the reactor's.
    assert fleet.server
    (line, *_) = [line for line in fleet.server.said().splitlines() if "POST /organizations" in line]
    assert re.search(r"\[\d\d/\w+/20\d\d:", line), line


@pytest.mark.parametrize("offset", [-HOUR, HOUR])
def test_an_agent_whose_clock_is_wrong_is_down_says_so_and_comes_back(
    fleet: Fleet, clocks: Clocks, offset: float
) -> None:
    job = start(fleet, "gate", [NODE])
    wait_for_nodes(fleet, job, {"running": [NODE]})
    clocks.set("agent", offset)
    fleet.agents[NODE].wait_for("heartbeat is silent")
    assert "off ours" in fleet.agents[NODE].said()
    wait_for_nodes(fleet, job, {"crashed": [NODE]})
    clocks.set("agent", 0)
    wait_until(lambda: fleet.available([NODE]) or None, "the agent available", seconds=30)
    fleet.agents[NODE].wait_for(f"Job {job}: aborted")
    wait_for_nodes(fleet, start(fleet, "say", [NODE]), {"succeeded": [NODE]})
