"""`pushy-agent --doctor` as an operator runs it: beside the agent, without it, and before the node has a key."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from tests.integration.jobs import start, wait_for_nodes

NODE = "d1"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path / "fleet")
    try:
        fleet.start_server()
        fleet.start_agent(NODE, {"say": "echo here"})
        wait_until(lambda: fleet.available([NODE]) or None, "the agent available", seconds=30)
        yield fleet
    finally:
        fleet.close()


def examine(fleet: Fleet) -> tuple[int, str]:
    program = Path(sys.executable).with_name("pushy-agent")
    config = fleet.directory / NODE / "pushy-agent.toml"
    done = subprocess.run(
        [program, "--config", config, "--doctor"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_beside_the_agent_without_it_and_before_it(fleet: Fleet) -> None:
    status, said = examine(fleet)
    assert status == 0, said
    assert "it runs, and is online and available to the server" in said
    # It has taken nothing from the agent.
    wait_for_nodes(fleet, start(fleet, "say", [NODE]), {"succeeded": [NODE]})
    fleet.agents[NODE].stop()
    status, said = examine(fleet)
    assert status == 0, said
    assert "connected, and the handshake succeeded" in said
    assert "signed by the server" in said
    (fleet.directory / NODE / "client.pem").unlink()
    status, said = examine(fleet)
    assert status == 0, said
    assert "the server knows us as default-validator" in said
    assert "registers itself" in said
    assert not (fleet.directory / NODE / "client.pem").exists()
    assert fleet.server
    fleet.server.stop()
    status, said = examine(fleet)
    assert status == 1
    assert "connection refused" in said
