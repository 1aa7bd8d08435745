"""The main job, and what a server that was killed takes up again, with a real pushyd over a real PostgreSQL."""

import json
from collections.abc import Iterator

import psycopg
import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from tests import postgres

NODES = ["p1", "p2"]
WHITELIST = {"both": "sh -c 'echo out; echo err >&2'", "fail": "sh -c 'exit 7'", "nap": "sleep 3", "long": "sleep 600"}


@pytest.fixture(scope="module")
def database(postgres_server: postgres.Server) -> str:
    return postgres_server.create_database()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), {"database_url": database})
    try:
        fleet.start_server()
        for node in NODES:
            fleet.start_agent(node, WHITELIST)
        all_available(fleet)
        yield fleet
    finally:
        fleet.close()


def all_available(fleet: Fleet) -> None:
    wait_until(lambda: fleet.available(NODES) or None, "all agents available", seconds=30)


def start(fleet: Fleet, command: str, **more: object) -> str:
    status, answer = fleet.request(
        "POST", "pushy/jobs", json.dumps({"command": command, "nodes": NODES, **more}).encode()
    )
    assert status == 201, answer
    return str(answer["uri"].rpartition("/")[2])


def wait_for(fleet: Fleet, job: str, status: str, **nodes: list[str]) -> None:
    def is_so() -> bool | None:
        found = fleet.get(f"pushy/jobs/{job}")
        return (found["status"], found["nodes"]) == (status, nodes) or None

    wait_until(is_so, f"job {job} {status}, {nodes}", seconds=30)


def kill_and_restart(fleet: Fleet) -> None:
    assert fleet.server
    fleet.server.kill()
    fleet.start_server()


def feed_of(database: str, job: str) -> list[str]:
    """The names of the events of a job's feed, as they are kept."""
    with psycopg.connect(database) as connection:
        statement = "SELECT text FROM feeds JOIN jobs ON jobs.seq = feeds.job WHERE jobs.id = %s ORDER BY first"
        text = b"".join(piece for (piece,) in connection.execute(statement, [job]))
    return [line.removeprefix("event: ") for line in text.decode().splitlines() if line.startswith("event: ")]


def test_a_job_succeeds_everywhere_and_its_output_is_shown(fleet: Fleet, database: str) -> None:
    result = fleet.cli("job", "start", "--capture", "both", *NODES)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "out" in result.stdout
    newest = fleet.get("pushy/jobs")[0]
    assert (newest["command"], newest["status"]) == ("both", "complete")
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT id, status FROM jobs").fetchall() == [(newest["id"], "complete")]


def test_a_command_that_fails_says_how(fleet: Fleet) -> None:
    job = start(fleet, "fail")
    wait_for(fleet, job, "complete", failed=NODES)
    reasons = fleet.get(f"pushy/jobs/{job}?detail=true")["reasons"]
    assert reasons == dict.fromkeys(NODES, "exit status 7")


def test_a_running_job_goes_on_after_a_crash(fleet: Fleet, database: str) -> None:
    job = start(fleet, "nap")
    wait_for(fleet, job, "running", running=NODES)
    kill_and_restart(fleet)
    wait_for(fleet, job, "complete", succeeded=NODES)
    assert fleet.request("GET", "pushy/jobs")[0] == 200  # answered once all is stored
    votes, runs, ends = (["quorum_vote"] * 2, ["run_start"] * 2, ["run_complete"] * 2)
    assert feed_of(database, job) == ["start", *votes, "quorum_succeeded", *runs, *ends, "job_complete"]
    all_available(fleet)


def test_a_job_that_is_being_aborted_is_aborted_after_a_crash(fleet: Fleet) -> None:
    job = start(fleet, "long")
    wait_for(fleet, job, "running", running=NODES)
    assert fleet.request("POST", f"pushy/jobs/{job}/abort")[0] == 202
    kill_and_restart(fleet)
    wait_for(fleet, job, "aborted", aborted=NODES)
    all_available(fleet)


def test_the_run_timeout_goes_on_over_a_crash(fleet: Fleet) -> None:
    job = start(fleet, "long", run_timeout=4)
    wait_for(fleet, job, "running", running=NODES)
    kill_and_restart(fleet)
    wait_for(fleet, job, "timed_out", timed_out=NODES)
    all_available(fleet)


def test_agents_reconnect_to_a_server_that_was_stopped(fleet: Fleet) -> None:
    assert fleet.server
    assert fleet.server.stop() == 0
    fleet.start_server()
    all_available(fleet)
    job = start(fleet, "both")
    wait_for(fleet, job, "complete", succeeded=NODES)
