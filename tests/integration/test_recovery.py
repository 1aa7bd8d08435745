"""What a server that was killed takes up again, with real processes."""

import json
from collections.abc import Iterator

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from tests.integration.conftest import NewFleet

NODES = ["r1", "r2"]
WHITELIST = {"nap": "sleep 3", "long": "sleep 600", "say": "echo here"}


@pytest.fixture(scope="module")
def fleet(new_fleet: NewFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with new_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.start_server()
        for node in NODES:
            fleet.start_agent(node, WHITELIST)
        all_available(fleet)
        yield fleet


def all_available(fleet: Fleet) -> None:
    wait_until(lambda: fleet.available(NODES) or None, "all agents available", seconds=30)


def start(fleet: Fleet, command: str, **more: object) -> str:
    body = json.dumps({"command": command, "nodes": NODES, **more}).encode()
    status, answer = fleet.request("POST", "pushy/jobs", body)
    assert status == 201, answer
    return str(answer["uri"].rpartition("/")[2])


def wait_for_status(fleet: Fleet, job: str, status: str) -> None:
    def has_it() -> bool | None:
        return fleet.get(f"pushy/jobs/{job}")["status"] == status or None

    wait_until(has_it, f"job {job} {status}", seconds=30)


def wait_for_nodes(fleet: Fleet, job: str, nodes: dict[str, list[str]]) -> None:
    wait_until(lambda: fleet.get(f"pushy/jobs/{job}")["nodes"] == nodes or None, f"{nodes} in {job}", seconds=30)


def crash_and_restart(fleet: Fleet) -> None:
    assert fleet.server
    fleet.server.kill()
    fleet.start_server()


def test_a_running_job_goes_on(fleet: Fleet) -> None:
    job = start(fleet, "nap")
    wait_for_nodes(fleet, job, {"running": NODES})
    crash_and_restart(fleet)
    wait_for_status(fleet, job, "complete")
    assert fleet.get(f"pushy/jobs/{job}")["nodes"] == {"succeeded": NODES}
    all_available(fleet)


def test_a_job_that_is_being_aborted_is_aborted(fleet: Fleet) -> None:
    job = start(fleet, "long")
    wait_for_nodes(fleet, job, {"running": NODES})
    status, answer = fleet.request("POST", f"pushy/jobs/{job}/abort")
    assert status == 202, answer
    crash_and_restart(fleet)
    wait_for_nodes(fleet, job, {"aborted": NODES})
    assert fleet.get(f"pushy/jobs/{job}")["status"] == "aborted"
    all_available(fleet)


def test_abort_ends_the_commands_and_is_said_once(fleet: Fleet) -> None:
    job = start(fleet, "long")
    wait_for_nodes(fleet, job, {"running": NODES})
    assert fleet.request("POST", f"pushy/jobs/{job}/abort")[0] == 202
    wait_for_status(fleet, job, "aborted")
    assert fleet.request("POST", f"pushy/jobs/{job}/abort")[0] == 409
    all_available(fleet)
    assert fleet.request("POST", f"pushy/jobs/{'0' * 32}/abort")[0] == 404


def test_the_run_timeout_goes_on_over_a_restart(fleet: Fleet) -> None:
    job = start(fleet, "long", run_timeout=4)
    wait_for_nodes(fleet, job, {"running": NODES})
    crash_and_restart(fleet)
    wait_for_status(fleet, job, "timed_out")
    all_available(fleet)


def test_agents_reconnect_to_a_server_that_was_stopped(fleet: Fleet) -> None:
    assert fleet.server
    assert fleet.server.stop() == 0
    fleet.start_server()
    all_available(fleet)
    job = start(fleet, "say")
    wait_for_nodes(fleet, job, {"succeeded": NODES})


def test_nodes_that_do_not_come_back_are_given_up(fleet: Fleet) -> None:
    gone = "mayfly"
    fleet.start_agent(gone, WHITELIST)
    wait_until(lambda: fleet.available([gone]) or None, "the agent available")
    body = json.dumps({"command": "long", "nodes": [gone]}).encode()
    job = str(fleet.request("POST", "pushy/jobs", body)[1]["uri"].rpartition("/")[2])
    wait_for_nodes(fleet, job, {"running": [gone]})
    assert fleet.server
    fleet.server.kill()
    fleet.agents[gone].kill()
    fleet.start_server()
    wait_until(lambda: fleet.get(f"pushy/jobs/{job}")["status"] == "complete" or None, "the job ended", seconds=60)
    assert fleet.get(f"pushy/jobs/{job}?detail=true")["nodes"] == {"crashed": [gone]}
