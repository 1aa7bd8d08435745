"""One agent that writes very much beside fifty nodes that write little: nobody is hurt. With real processes."""

import contextlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from tests.integration.push_client_3 import OutputClient, totals
from tests.integration.wire_2x import Wire

MIB = 1024 * 1024
LOUD = "loud"
QUIET = 50
MUCH = 200_000_000
WHOLE = 24 * MIB
AGENT_ROOM = 16 * MIB
SERVER_ROOM = 64 * MIB
"""What the server may have resident beyond what it had: some batches (4 MiB), tails (4 MiB), its database's caches."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    (tmp_path / "random").write_bytes(random.Random(3).randbytes(WHOLE))
    fleet = Fleet(tmp_path / "fleet", {"heartbeat_interval": 1000})
    try:
        fleet.start_server()
        commands = {"much": f"head -c {MUCH} /dev/zero", "whole": f"cat {tmp_path}/random", "say": "echo here"}
        fleet.start_agent(LOUD, commands)
        wait_until(lambda: fleet.available([LOUD]) or None, "the agent", seconds=30)
        yield fleet
    finally:
        fleet.close()


def start(fleet: Fleet, command: str, limit: int) -> str:
    body = {"command": command, "nodes": [LOUD], "capture_output": True, "output_limit": limit}
    status, answer = fleet.request("POST", "pushy/jobs", json.dumps(body).encode())
    assert status == 201, answer
    job: str = answer["uri"].rpartition("/")[2]
    return job


def has_ended(fleet: Fleet, job: str) -> bool:
    status: str = fleet.get(f"pushy/jobs/{job}")["status"]
    return status not in {"new", "voting", "running"}


def output(fleet: Fleet, job: str, node: str = LOUD) -> bytes:
    status, data = fleet.fetch("GET", f"pushy/jobs/{job}/output/{node}/stdout")
    assert status == 200, data
    return data


def resident(pid: int, what: str) -> int:
    """Bytes that are resident (VmRSS), or were at most (VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{what}:"))) * 1024


@contextlib.contextmanager
def bounded(pid: int, room: int) -> Iterator[None]:
    """Whatever is done meanwhile, a process grows by no more than this."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the most that it has had is what it has now
    before = resident(pid, "VmRSS")
    yield
    assert resident(pid, "VmHWM") - before <= room


def test_a_loud_node_costs_the_quiet_ones_nothing(fleet: Fleet) -> None:
    assert fleet.server
    job = start(fleet, "say", 1000)
    wait_until(lambda: has_ended(fleet, job) or None, "the first job")
    with contextlib.closing(Wire(fleet)) as wire:
        quiet = [wire.join(wire.make(OutputClient)) for _ in range(QUIET)]
        talk = wire.knife.start("chef-client", [node.name for node in quiet], capture_output="live")
        for node in quiet:
            node.expect("commit")
            node.say("ack_commit", talk)
        for node in quiet:
            node.expect("run")
            node.say("ack_run", talk)
        said = b""
        with (
            bounded(fleet.server.process.pid, SERVER_ROOM),
            bounded(fleet.agents[LOUD].process.pid, AGENT_ROOM),
        ):
            for command, limit in (("much", MIB), ("whole", WHOLE)):
                loud = start(fleet, command, limit)
                is_last = False
                while not is_last:
                    is_last = has_ended(fleet, loud)
                    line = b"turn %d\n" % len(said)
                    for node in quiet:
                        node.heartbeat("running", talk)
                        node.say_output(talk, "stdout", len(said), line)
                    said += line
                    for node in quiet:
                        assert node.expect_offsets(talk) == {"stdout": len(said)}
                assert fleet.get(f"pushy/jobs/{loud}")["nodes"] == {"succeeded": [LOUD]}
                text = output(fleet, loud)
                if command == "whole":
                    assert text == random.Random(3).randbytes(WHOLE)
                else:
                    line = b"\n[... %d bytes left out ...]\n" % (MUCH - MIB)
                    assert text == bytes(MIB // 2) + line + bytes(MIB // 2)
        for node in quiet:
            node.say("succeeded", talk, output=totals({"stdout": said}))
        wait_until(lambda: has_ended(fleet, talk) or None, "the quiet ones' end")
        assert sorted(fleet.get(f"pushy/jobs/{talk}")["nodes"]["succeeded"]) == sorted(node.name for node in quiet)
        assert {output(fleet, talk, node.name) for node in quiet} == {said}
    assert "is down" not in fleet.server.said()
