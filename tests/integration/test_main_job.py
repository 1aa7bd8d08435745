"""The main job from end to end, with real processes: twistd, sockets, TLS, CURVE, SQLite, and the CLI."""

import platform
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from tests.integration.conftest import NewFleet

NODES = ("n1", "n2")
WHITELIST = {
    "hello": "echo hello",
    "both": "sh -c 'echo out; echo err >&2'",
    "fail": "sh -c 'echo broken >&2; exit 7'",
    "sleep": "sleep 60",
    "big": "head -c 3000000 /dev/zero",
}


@pytest.fixture(scope="module")
def fleet(new_fleet: NewFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with new_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.start_server()
        for node in NODES:
            fleet.start_agent(node, WHITELIST)
        wait_until(lambda: fleet.available(NODES) or None, "both agents available", seconds=30)
        yield fleet


def job_id(text: str) -> str:
    found = re.search(r"[0-9a-f]{32}", text)
    assert found, text
    return found[0]


def show(fleet: Fleet, job: str) -> dict[str, object]:
    shown: dict[str, object] = fleet.get(f"pushy/jobs/{job}?detail=true")
    return shown


def test_a_job_succeeds_everywhere_and_its_output_is_shown(fleet: Fleet) -> None:
    result = fleet.cli("job", "start", "--capture", "both", *NODES)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "out" in result.stdout
    job = job_id(result.stdout + result.stderr)
    assert show(fleet, job)["nodes"] == {"succeeded": ["n1", "n2"]}
    assert fleet.cli("job", "output", job, "n1", "--channel", "stderr").stdout.rstrip().endswith("err")


def test_a_command_that_fails_says_how(fleet: Fleet) -> None:
    result = fleet.cli("job", "start", "--capture", "fail", "n1")
    assert result.returncode == 1
    assert "(exit 7)" in result.stdout + result.stderr
    assert "broken" in result.stdout + result.stderr


def test_a_command_that_is_not_whitelisted_says_so(fleet: Fleet) -> None:
    result = fleet.cli("job", "start", "rm -rf /", *NODES)
    assert result.returncode == 3
    assert "not_whitelisted" in result.stdout + result.stderr


def test_a_busy_node_refuses_a_second_job_and_goes_on_with_the_first(fleet: Fleet) -> None:
    first = job_id(fleet.cli("job", "start", "--nowait", "sleep", "n1").stdout)
    wait_until(lambda: show(fleet, first)["nodes"] == {"running": ["n1"]} or None, "the first job running")
    second = fleet.cli("job", "start", "hello", "n1")
    assert second.returncode == 3
    assert "busy" in second.stdout + second.stderr
    assert show(fleet, first)["nodes"] == {"running": ["n1"]}
    assert fleet.request("POST", f"pushy/jobs/{first}/abort")[0] == 202
    wait_until(lambda: show(fleet, first)["nodes"] == {"aborted": ["n1"]} or None, "the first job aborted")
    wait_until(lambda: fleet.available(["n1"]) or None, "n1 available again")
    assert fleet.cli("job", "start", "hello", "n1").returncode == 0


def test_a_job_that_takes_too_long_is_timed_out_and_its_node_is_free_again(fleet: Fleet) -> None:
    job = job_id(fleet.cli("job", "start", "--nowait", "--timeout", "1", "sleep", "n1").stdout)
    wait_until(lambda: show(fleet, job)["status"] == "timed_out" or None, "the job timed out")
    assert show(fleet, job)["nodes"] == {"timed_out": ["n1"]}
    wait_until(lambda: fleet.available(["n1"]) or None, "n1 back from rehab")
    assert fleet.cli("job", "start", "hello", "n1").returncode == 0


def test_large_output_is_cut_and_says_so(fleet: Fleet) -> None:
    result = fleet.cli("job", "start", "--capture", "big", "n2")
    assert result.returncode == 0
    output = fleet.cli("job", "output", job_id(result.stdout + result.stderr), "n2", "--channel", "stdout").stdout
    assert "bytes" in output
    assert 2**20 < len(output) < 2**20 + 4096


def test_a_node_that_does_not_exist_is_unavailable_and_the_quorum_decides(fleet: Fleet) -> None:
    assert fleet.cli("job", "start", "hello", "n1", "ghost").returncode == 3
    result = fleet.cli("job", "start", "--quorum", "1", "hello", "n1", "ghost")
    assert show(fleet, job_id(result.stdout + result.stderr))["nodes"] == {
        "succeeded": ["n1"],
        "unavailable": ["ghost"],
    }


def test_nodes_are_found_by_what_their_agents_report(fleet: Fleet) -> None:
    release = platform.release()

    def found() -> bool | None:
        return [row["name"] for row in fleet.get(f"search/node?q=kernel_release:{quote(release)}")["rows"]] == list(
            NODES
        ) or None

    wait_until(found, "both nodes found by their kernel")
    result = fleet.cli("job", "start", "-s", "name:n2", "hello")
    assert result.returncode == 0, result.stderr
    assert show(fleet, job_id(result.stdout + result.stderr))["nodes"] == {"succeeded": ["n2"]}


def test_a_second_start_keeps_its_keys_and_agents_carry_on(fleet: Fleet) -> None:
    keys = {path.name: path.read_bytes() for path in fleet.state.glob("*.pem")}
    assert fleet.server
    assert fleet.server.stop(seconds=5) == 0
    fleet.start_server()
    assert {path.name: path.read_bytes() for path in fleet.state.glob("*.pem")} == keys
    wait_until(lambda: fleet.available(NODES) or None, "both agents available again", seconds=30)
    assert fleet.cli("job", "start", "hello", *NODES).returncode == 0


def test_a_job_answered_with_201_is_there_after_sigkill(fleet: Fleet) -> None:
    started = fleet.cli("job", "start", "--nowait", "sleep", *NODES)
    assert started.returncode == 0
    assert fleet.server
    fleet.server.kill()
    fleet.start_server()
    job = job_id(started.stdout)
    assert show(fleet, job)["command"] == "sleep"
    # It goes on where it was; tests/integration/test_recovery.py is about that.
    wait_until(lambda: show(fleet, job)["nodes"] == {"running": list(NODES)} or None, "the job running", seconds=30)
    assert fleet.request("POST", f"pushy/jobs/{job}/abort")[0] == 202
    wait_until(lambda: show(fleet, job)["status"] == "aborted" or None, "the job aborted", seconds=30)
    wait_until(lambda: fleet.available(NODES) or None, "both agents available again", seconds=30)
    assert fleet.cli("job", "start", "hello", *NODES).returncode == 0


def test_an_agent_that_is_killed_ends_its_part_of_the_job(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start_agent("mortal", WHITELIST)
    wait_until(lambda: fleet.available(["mortal"]) or None, "the agent available")
    job = job_id(fleet.cli("job", "start", "--nowait", "sleep", "mortal").stdout)
    wait_until(lambda: show(fleet, job)["nodes"] == {"running": ["mortal"]} or None, "the job running")
    fleet.agents["mortal"].kill()
    wait_until(lambda: show(fleet, job)["status"] == "complete" or None, "the job ended", seconds=15)
    assert show(fleet, job)["nodes"] == {"crashed": ["mortal"]}
