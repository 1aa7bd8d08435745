"""What becomes of a job when its agent is killed, stopped or told of new settings; with real processes and pushyd."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from pushy_agent.cgroup import Groups
from tests.integration.conftest import NewFleet

NODE = "a1"
# However long an agent takes to start again, its node is not down until then.
PATIENT = {"down_threshold": 0.01, "decay_window": 1000}


@pytest.fixture(scope="module")
def fleet(new_fleet: NewFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with new_fleet(tmp_path_factory.mktemp("fleet"), PATIENT) as fleet:
        fleet.start_server()
        yield fleet


@pytest.fixture
def whitelist(tmp_path: Path) -> dict[str, str]:
    daemon = f"(setsid sh -c 'echo $$ >{tmp_path}/daemon; exec sleep 600' &)"
    # Each start adds a line, and a command goes on when its gate is opened.
    gate = f"sh -c 'echo started >>{tmp_path}/runs; until [ -e {tmp_path}/gate ]; do sleep 0.05; done; echo through'"
    hidden = daemon.replace("setsid sh", "setsid env -i PATH=/usr/bin:/bin sh")
    return {
        "gate": gate,
        "daemon": f'sh -c "{daemon}; exec sleep 600"',
        "hidden": f'sh -c "{hidden}; exec sleep 600"',
        "say": "echo here",
    }


@pytest.fixture
def agent(fleet: Fleet, whitelist: dict[str, str]) -> Iterator[Fleet]:
    start_agent(fleet, whitelist)
    yield fleet
    if fleet.agents[NODE].process.poll() is None:
        fleet.agents[NODE].stop()


def start_agent(fleet: Fleet, whitelist: dict[str, str]) -> None:
    # Of an agent that was stopped a moment ago the server still believes that it is available.
    fleet.start_agent(NODE, whitelist).wait_for("the node is connected")
    wait_until(lambda: fleet.available([NODE]) or None, "the agent available", seconds=30)


def start(fleet: Fleet, command: str, **more: object) -> str:
    body = json.dumps({"command": command, "nodes": [NODE], **more}).encode()
    status, answer = fleet.request("POST", "pushy/jobs", body)
    assert status == 201, answer
    return str(answer["uri"].rpartition("/")[2])


def wait_for(fleet: Fleet, job: str, status: str) -> None:
    def has_it() -> bool | None:
        return fleet.get(f"pushy/jobs/{job}")["nodes"] == {status: [NODE]} or None

    wait_until(has_it, f"{NODE} {status} in {job}", seconds=20)


def reason(fleet: Fleet, job: str) -> str:
    return str(fleet.get(f"pushy/jobs/{job}?detail=true")["reasons"][NODE])


def wait_for_pid(directory: Path) -> int:
    path = directory / "daemon"
    return int(wait_until(lambda: (path.exists() and path.read_text()) or None, "the daemon's pid"))


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_job_whose_agent_is_killed_has_failed_and_nothing_of_it_is_left(
    agent: Fleet, whitelist: dict[str, str], tmp_path: Path
) -> None:
    job = start(agent, "daemon")
    wait_for(agent, job, "running")
    daemon = wait_for_pid(tmp_path)
    agent.agents[NODE].kill()
    assert is_alive(daemon)
    agent.start_agent(NODE, whitelist)
    wait_for(agent, job, "failed")
    assert reason(agent, job) == "agent_restarted"
    assert not is_alive(daemon)
    wait_until(lambda: agent.available([NODE]) or None, "the agent available", seconds=30)


def test_what_has_hidden_from_a_lost_agent_is_found_by_its_control_group(
    agent: Fleet, whitelist: dict[str, str], tmp_path: Path
) -> None:
    """It has left its session and cleared its environment, so that without control groups nobody knows whose it is."""
    job = start(agent, "hidden")
    wait_for(agent, job, "running")
    daemon = wait_for_pid(tmp_path)
    agent.agents[NODE].kill()
    agent.start_agent(NODE, whitelist)
    wait_for(agent, job, "failed")
    if Groups.find(NODE) is not None:
        wait_until(lambda: not is_alive(daemon) or None, "the end of the daemon")
    else:
        os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: agent.available([NODE]) or None, "the agent available", seconds=30)


def test_a_result_outlives_the_server_and_the_agent(agent: Fleet, whitelist: dict[str, str], tmp_path: Path) -> None:
    job = start(agent, "gate", capture_output=True)
    wait_for(agent, job, "running")
    assert agent.server
    agent.server.kill()
    (tmp_path / "gate").touch()
    agent.agents[NODE].wait_for(f"Job {job}: succeeded")
    journal = agent.directory / NODE / "state" / "jobs.journal"
    wait_until(lambda: b'"ended"' in journal.read_bytes() or None, "the result on disk")
    agent.agents[NODE].kill()
    agent.start_server()
    agent.start_agent(NODE, whitelist)
    wait_for(agent, job, "succeeded")
    assert (tmp_path / "runs").read_text() == "started\n"
    # The server has acknowledged it.
    wait_until(lambda: journal.read_bytes().rstrip().endswith(b'"}') or None, "the acknowledgement")
    wait_until(lambda: agent.available([NODE]) or None, "the agent available", seconds=30)


def test_abort_ends_daemons_too(agent: Fleet, tmp_path: Path) -> None:
    job = start(agent, "daemon")
    wait_for(agent, job, "running")
    daemon = wait_for_pid(tmp_path)
    assert agent.request("POST", f"pushy/jobs/{job}/abort")[0] == 202
    wait_for(agent, job, "aborted")
    assert not is_alive(daemon)


def test_stop_reports_the_job_that_it_ends(agent: Fleet) -> None:
    job = start(agent, "daemon")
    wait_for(agent, job, "running")
    agent.agents[NODE].stop()
    wait_for(agent, job, "failed")
    assert reason(agent, job) == "agent_stopped"


def test_a_changed_whitelist_counts_from_the_next_commit_and_a_bad_one_never(agent: Fleet) -> None:
    config = agent.directory / NODE / "pushy-agent.toml"
    good = config.read_text()
    config.write_text(good + 'added = "true"\n')
    wait_for(agent, start(agent, "added"), "succeeded")
    config.write_text(good + "added = 1\n")
    wait_for(agent, start(agent, "added"), "succeeded")
    agent.agents[NODE].wait_for("the old ones stay")
    (config.parent / "whitelist.d").mkdir()
    (config.parent / "whitelist.d" / "more.toml").write_text('more = "true"\n')
    config.write_text(good)
    wait_for(agent, start(agent, "more"), "succeeded")


def test_signals_end_nothing(agent: Fleet, tmp_path: Path) -> None:
    process = agent.agents[NODE]
    job = start(agent, "gate")
    wait_for(agent, job, "running")
    for times, number in ((2, signal.SIGHUP), (3, signal.SIGUSR1)):
        os.kill(process.process.pid, number)
        process.wait_for("the node is connected", times=times)
    (tmp_path / "gate").touch()
    wait_for(agent, job, "succeeded")
    assert process.process.poll() is None
