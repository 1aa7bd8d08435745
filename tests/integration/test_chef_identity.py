"""A real pushyd, real agents and the CLI, with a Chef Server's double in a process of its own as identity."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.chef.fleet import ChefFleet
from demo.processes import wait_until

LIFETIME = 1


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChefFleet]:
    fleet = ChefFleet(
        tmp_path_factory.mktemp("fleet"),
        ("web1", "web2"),
        cache_lifetime=LIFETIME,
        negative_cache_lifetime=0.5,
        request_timeout=2,
    )
    try:
        fleet.start_server()
        for name in ("web1", "web2", "db1"):
            fleet.start_agent(name, {"hello": "echo hello", "wait": "sleep 2"})
        wait_until(lambda: fleet.available(["web1", "web2", "db1"]) or None, "all agents available", seconds=60)
        yield fleet
    finally:
        fleet.close()


def check(fleet: ChefFleet, *arguments: str) -> "subprocess.CompletedProcess[str]":
    ctl = Path(sys.executable).with_name("pushyd-ctl")
    return subprocess.run(
        [sys.executable, ctl, "--config", fleet.server_config, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_nodes_are_found_by_the_chef_servers_search_and_run_a_job(fleet: ChefFleet) -> None:
    job = fleet.cli("job", "start", "--capture", "-s", "platform:debian", "hello", merged=True)
    assert job.returncode == 0, job.stdout
    assert "2 of 2 nodes succeeded" in job.stdout


def test_a_node_without_a_key_enrolled_itself_at_the_chef_server(fleet: ChefFleet) -> None:
    assert sorted(fleet.get("clients")) == ["acme-validator", "db1", "web1", "web2"]
    job = fleet.cli("job", "start", "hello", "db1")
    assert job.returncode == 0, job.stderr


def test_who_may_not_start_a_job(fleet: ChefFleet) -> None:
    assert fleet.request("POST", "pushy/jobs", b'{"command":"hello","nodes":["web1"]}', user="reader")[0] == 403
    assert fleet.request("GET", "pushy/node_states", user="reader")[0] == 200


def test_check_makes_every_request(fleet: ChefFleet) -> None:
    checked = check(fleet, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for text in ("principals: can be read", "itself: can be read", "clients: can be listed", "group operators: can be"):
        assert f"ok     Chef Server, organization acme: {text}" in checked.stdout
    checked = check(fleet, "check", "--organization", "nowhere")
    assert checked.returncode == 1
    assert "WRONG  Chef Server, organization nowhere: it is not there" in checked.stdout


def test_identities_are_not_changed_where_nobody_would_see_it(fleet: ChefFleet) -> None:
    for command in (("user", "list"), ("client", "create", "web9"), ("group", "list"), ("org", "create", "other")):
        refused = check(fleet, *command)
        assert refused.returncode == 1
        assert "users, clients and groups are on the Chef Server" in refused.stderr
    assert "organization acme: its users and clients are on the Chef Server" in check(fleet, "status").stdout


def test_a_chef_server_that_hangs_stops_no_job_and_nobody_who_is_known(fleet: ChefFleet) -> None:
    assert fleet.chef
    assert fleet.server
    started = fleet.cli("job", "start", "--nowait", "wait", "web1", "web2")
    (job,) = re.findall(r"[0-9a-f]{32}", started.stdout)
    fleet.chef.process.send_signal(signal.SIGSTOP)
    try:
        fleet.server.wait_for("cannot be asked for", seconds=30)
        ended = wait_until(
            lambda: ((shown := fleet.get(f"pushy/jobs/{job}"))["status"] == "complete" and shown) or None, "its end"
        )
        assert ended["nodes"] == {"succeeded": ["web1", "web2"]}
        assert fleet.available(["web1", "web2"])
    finally:
        fleet.chef.process.send_signal(signal.SIGCONT)
    fleet.server.wait_for("answers again", seconds=30)


def test_a_node_whose_client_is_deleted_is_cut_off(fleet: ChefFleet) -> None:
    assert fleet.request("DELETE", "clients/db1")[0] == 200

    def is_gone() -> bool | None:
        return fleet.get("pushy/node_states/db1")["status"] == "offline" or None

    wait_until(is_gone, "db1 cut off", seconds=30)
    assert fleet.server
    fleet.server.wait_for("Node acme/db1 is no client of the Chef Server any more")
    fleet.agents["db1"].process.send_signal(signal.SIGUSR1)  # ask for the configuration again
    fleet.agents["db1"].wait_for("Failed to authenticate as 'db1'", seconds=60)
