"""A real pushyd with peers in Ruby, on the libraries of Chef's own programs: what they sign, encrypt and expect.

Needs Debian's ruby, ruby-mixlib-authentication and ruby-ffi-rzmq; so it is no part of ``make test``, but of CI.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until

HERE = Path(__file__).parent
NODES = ("rb1", "rb2")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        fleet.start_server()
        for name in NODES:
            status, made = fleet.request("POST", "clients", json.dumps({"name": name}).encode())
            assert status == 201, made
            (fleet.state / f"{name}.pem").write_text(made["private_key"])
        with ruby_node(fleet, NODES[0]), ruby_node(fleet, NODES[1]):
            wait_until(lambda: fleet.available(NODES) or None, "both nodes available", seconds=30)
            yield fleet
    finally:
        fleet.close()


@contextmanager
def ruby_node(fleet: Fleet, name: str) -> Iterator[None]:
    """A node in Ruby; it ends when its input does, and must not have stumbled over anything."""
    arguments = [fleet.url, name, str(fleet.state / f"{name}.pem"), str(fleet.state / "ca.pem")]
    with (fleet.directory / f"{name}.log").open("w+") as log:
        node = subprocess.Popen(
            ["ruby", HERE / "push_node.rb", *arguments], stdin=subprocess.PIPE, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            node.communicate(timeout=20)
            log.seek(0)
            said = log.read()
        assert node.returncode == 0, said
        assert {"configured", "heartbeat", "abort", "commit", "run"} <= set(said.split()), said


def ruby_request(fleet: Fleet, version: str, verb: str, path: str, body: str = "") -> tuple[int, Any]:
    key, ca = str(fleet.state / "admin.pem"), str(fleet.state / "ca.pem")
    told = subprocess.run(
        ["ruby", HERE / "request.rb", fleet.url, "admin", key, ca, version, verb, path, body],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    status, _, answer = told.partition("\n")
    return int(status), json.loads(answer)


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.3"])
def test_a_job_from_its_start_to_its_end(fleet: Fleet, version: str) -> None:
    request = {"command": "echo hello; echo oops >&2", "nodes": NODES, "capture_output": True, "quorum": 2}
    status, answer = ruby_request(fleet, version, "POST", "pushy/jobs", json.dumps(request))
    assert status == 201, answer
    path = answer["uri"].partition("/organizations/default/")[2]

    def ended() -> Any:
        job = ruby_request(fleet, version, "GET", path)[1]
        return job if job["status"] not in ("new", "voting", "running") else None

    job = wait_until(ended, "the end of the job", seconds=30)
    assert (job["status"], job["nodes"]) == ("complete", {"succeeded": list(NODES)})
    for channel, text in (("stdout", "hello\n"), ("stderr", "oops\n")):
        shown = fleet.cli("job", "output", path.rpartition("/")[2], NODES[0], "--channel", channel)
        assert shown.returncode == 0, shown.stderr
        assert text in shown.stdout


def test_a_command_that_fails(fleet: Fleet) -> None:
    result = fleet.cli("job", "start", "exit 3", *NODES)
    assert result.returncode == 1, result.stdout + result.stderr
