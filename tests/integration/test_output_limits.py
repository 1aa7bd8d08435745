"""What an agent does with output when something is short: the disk, memory, time, the network. With a real pushyd.

The job goes on and ends as it would, and nobody takes the node for gone. Disks that are full are small ones of the
test's own, mounted as root.
"""

import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from tests.integration.link import SERVER_ADDRESS, linked

NODE = "l1"
KIB = 1024
MIB = KIB * KIB
SETTINGS = {"heartbeat_interval": 1000, "zeromq_listen_address": f"tcp://{SERVER_ADDRESS}"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), SETTINGS)
    try:
        fleet.start_server()
        with linked(int(str(fleet.settings["server_heartbeat_port"]))):
            yield fleet
    finally:
        fleet.close()


@pytest.fixture
def agent(fleet: Fleet, whitelist: dict[str, str]) -> Iterator[Fleet]:
    with linked(int(str(fleet.settings["command_port"]))), running_agent(fleet, whitelist):
        yield fleet


@pytest.fixture
def whitelist(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "random").write_bytes(random.Random(1).randbytes(6 * MIB))
    return {
        "random": f"sh -c 'cat {tmp_path}/random; echo the end; exit 7'",
        "flood": "sh -c 'timeout 2 cat /dev/zero; echo the end'",
        "much": "sh -c 'head -c 200000000 /dev/zero; echo the end'",
        "some": f"head -c 700000 {tmp_path}/random",
        "say": "echo here",
        "read": "sh -c 'cat $CHEF_PUSH_JOB_FILE'",
    }


@contextmanager
def running_agent(fleet: Fleet, whitelist: dict[str, str]) -> Iterator[None]:
    fleet.start_agent(NODE, whitelist).wait_for("the node is connected", seconds=30)
    try:
        wait_until(lambda: fleet.available([NODE]) or None, "the agent available", seconds=30)
        yield
    finally:
        fleet.agents[NODE].stop()


@contextmanager
def disk(path: Path, size: int) -> Iterator[Path]:
    """A small one of its own."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def fill(path: Path) -> Path:
    """Take all that is left of a disk; the file that has it."""
    filler = path / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (64 * KIB, KIB, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return filler


def run(fleet: Fleet, command: str, **more: object) -> Any:
    """A job to its end, with details."""
    body = json.dumps({"command": command, "nodes": [NODE], "capture_output": True, **more}).encode()
    status, answer = fleet.request("POST", "pushy/jobs", body)
    assert status == 201, answer
    path = f"pushy/jobs/{answer['uri'].rpartition('/')[2]}?detail=true"

    def ended() -> Any:
        job = fleet.get(path)
        return job if job["status"] not in {"new", "voting", "running"} else None

    return wait_until(ended, f"the end of {command}", seconds=90)


def output(fleet: Fleet, job: Any) -> bytes:
    status, data = fleet.fetch("GET", f"pushy/jobs/{job['id']}/output/{NODE}/stdout")
    assert status == 200
    return data


def told(job: Any) -> dict[str, Any]:
    """How the node's part ended."""
    detail = job["node_details"][NODE]
    return {key: detail[key] for key in ("status", "reason", "exit_status") if key in detail}


def test_a_full_disk_costs_output_and_says_so(fleet: Fleet, whitelist: dict[str, str], tmp_path: Path) -> None:
    with (
        linked(int(str(fleet.settings["command_port"]))),
        disk(fleet.directory / NODE / "state", 4 * MIB),
        running_agent(fleet, whitelist),
    ):
        job = run(fleet, "random", output_limit=16 * MIB)
        assert told(job) == {"status": "failed", "reason": "exit status 7", "exit_status": 7}
        text = output(fleet, job)
        head, middle, tail = text.partition(b" bytes left out: No space left on device ...]\n")
        assert middle
        head, _, count = head.rpartition(b"[... ")
        whole = (tmp_path / "random").read_bytes() + b"the end\n"
        head = head[: len(whole) - int(count) - len(tail)]  # without the line's own beginning
        assert len(head) > MIB
        assert (whole.startswith(head), whole.endswith(tail)) == (True, True)
        assert tail.endswith(b"the end\n")
        fleet.agents[NODE].wait_for("only a part is kept: No space left on device; the job goes on")
        # There is room again.
        assert told(run(fleet, "say"))["status"] == "succeeded"


def test_a_full_disk_refuses_what_it_cannot_note(fleet: Fleet, whitelist: dict[str, str]) -> None:
    state = fleet.directory / NODE / "state"
    with linked(int(str(fleet.settings["command_port"]))), disk(state, 4 * MIB), running_agent(fleet, whitelist):
        filler = fill(state)
        assert told(run(fleet, "say")) == {"status": "failed", "reason": "cannot_record"}
        filler.unlink()
        assert told(run(fleet, "say"))["status"] == "succeeded"
        with disk(state / "files", 64 * KIB):
            filler = fill(state / "files")
            assert told(run(fleet, "read", file="raw:" + "x" * 5000)) == {"status": "failed", "reason": "bad_file"}
            filler.unlink()
            job = run(fleet, "read", file="raw:content")
            assert (told(job)["status"], output(fleet, job)) == ("succeeded", b"content")


@pytest.mark.parametrize("command", ["flood", "much"])
def test_a_flood_costs_no_memory_and_its_ends_are_kept(agent: Fleet, command: str) -> None:
    run(agent, "say")
    before = memory(agent)
    with staying_up(agent):
        job = run(agent, command)
    text = output(agent, job)
    assert told(job)["status"] == "succeeded"
    assert text.startswith(b"\0" * (MIB // 2) + b"\n[... ")
    assert text.endswith(b" bytes left out ...]\n" + b"\0" * (MIB // 2 - 8) + b"the end\n")
    if command == "much":
        assert f"[... {200_000_008 - MIB} bytes".encode() in text
    assert peak(agent) - before < 16 * KIB


def test_a_slow_link_delays_the_output_alone(fleet: Fleet, whitelist: dict[str, str], tmp_path: Path) -> None:
    with linked(int(str(fleet.settings["command_port"]))) as link, running_agent(fleet, whitelist):
        link.rate = 100 * KIB
        with staying_up(fleet):
            job = run(fleet, "some")
        assert told(job)["status"] == "succeeded"
        assert output(fleet, job) == (tmp_path / "random").read_bytes()[:700_000]


@contextmanager
def staying_up(fleet: Fleet) -> Iterator[None]:
    """The server never takes the node for gone."""
    assert fleet.server
    before = fleet.server.said().count(f"Node default/{NODE} is down")
    yield
    assert fleet.server.said().count(f"Node default/{NODE} is down") == before


def memory(fleet: Fleet) -> int:
    """KiB that the agent has resident now."""
    return status_of(fleet, "VmRSS")


def peak(fleet: Fleet) -> int:
    """KiB that it had at most."""
    return status_of(fleet, "VmHWM")


def status_of(fleet: Fleet, name: str) -> int:
    lines = Path(f"/proc/{fleet.agents[NODE].process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))
