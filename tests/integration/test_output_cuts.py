"""Output on its way from a real agent to a real pushyd, while the link between them is cut and either is killed.

Whatever happens, every byte under the limit is there afterwards, in order, once.
"""

import json
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.fleet import Fleet
from demo.processes import wait_until
from tests.integration.link import SERVER_ADDRESS, Link, linked

NODE = "o1"
SETTINGS = {"heartbeat_interval": 3000, "zeromq_listen_address": f"tcp://{SERVER_ADDRESS}"}
CUTS = 87
SERVER_KILLS = 3
AGENT_KILLS = 10
LIMIT = 64 * 1024 * 1024

WRITER = """
import itertools, os, random, struct, sys, time

gate, pause = sys.argv[1], float(sys.argv[2])
for number in itertools.count():
    if os.path.exists(gate):
        break
    for channel in (1, 2):
        data = struct.pack(">QB", number, channel) + random.Random(number * channel).randbytes(3000)
        while data:
            data = data[os.write(channel, data):]
    time.sleep(pause)
open(gate, "w").write(str(number))
"""
"""Writes numbered pieces of anything to both channels until there is a gate, into which it then writes their number."""


def pieces(channel: int, count: int) -> bytes:
    """What the writer has written."""
    return b"".join(
        struct.pack(">QB", number, channel) + random.Random(number * channel).randbytes(3000) for number in range(count)
    )


@pytest.fixture
def seed() -> int:
    """Of all that is chosen here; a failure tells it, and ``PUSHY_SEED`` sets it."""
    return int(os.environ.get("PUSHY_SEED") or random.SystemRandom().randrange(2**32))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path / "fleet", SETTINGS)
    try:
        fleet.start_server()
        yield fleet
    finally:
        fleet.close()


@pytest.fixture
def link(fleet: Fleet) -> Iterator[Link]:
    # What the server's heartbeats go through stays: a server that is silent is sent nothing.
    with (
        linked(int(str(fleet.settings["server_heartbeat_port"]))),
        linked(int(str(fleet.settings["command_port"]))) as link,
    ):
        yield link


@pytest.fixture
def whitelist(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "writer.py").write_text(WRITER)
    write = f"{sys.executable} {tmp_path}/writer.py {tmp_path}/gate"
    return {"write": f"{write} 0.02", "loud": f"{write} 0.001"}


def start_agent(fleet: Fleet, whitelist: dict[str, str]) -> None:
    fleet.start_agent(NODE, whitelist).wait_for("the node is connected", seconds=30)
    wait_until(lambda: fleet.available([NODE]) or None, "the agent available", seconds=30)


def start(fleet: Fleet, command: str) -> str:
    job = {"command": command, "nodes": [NODE], "capture_output": "live", "output_limit": LIMIT}
    status, answer = fleet.request("POST", "pushy/jobs", json.dumps(job).encode())
    assert status == 201, answer
    return str(answer["uri"].rpartition("/")[2])


def wait_for(fleet: Fleet, job: str, status: str) -> Any:
    def found() -> Any:
        shown = fleet.get(f"pushy/jobs/{job}?detail=true")
        assert status in shown["nodes"] or set(shown["nodes"]) <= {"new", "ready", "running"}, shown
        return shown if status in shown["nodes"] else None

    return wait_until(found, f"{NODE} {status} in {job}", seconds=90)


def stored(fleet: Fleet, job: str, channel: str) -> bytes:
    status, data = fleet.fetch("GET", f"pushy/jobs/{job}/output/{NODE}/{channel}")
    return data if status == 200 else b""


def disturb(link: Link, chance: random.Random) -> None:
    """Something that happens to networks."""
    match chance.random():
        case what if what < 0.7:
            link.cut()
        case what if what < 0.85:
            link.down()
            time.sleep(chance.uniform(0.05, 0.4))
            link.up()
        case _:
            link.stall()
            time.sleep(chance.uniform(0.05, 0.6))
            link.go_on()
    time.sleep(chance.uniform(0.02, 0.35))


def test_the_link_is_cut_and_the_server_killed(
    fleet: Fleet, link: Link, whitelist: dict[str, str], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    start_agent(fleet, whitelist)
    job = start(fleet, "write")
    wait_for(fleet, job, "running")
    wait_until(lambda: stored(fleet, job, "stderr") or None, "output while it runs")
    kills = set(chance.sample(range(CUTS), SERVER_KILLS))
    for number in range(CUTS):
        if number in kills:
            assert fleet.server
            fleet.server.kill()
            fleet.start_server()
        disturb(link, chance)
    (tmp_path / "gate").touch()
    shown = wait_for(fleet, job, "succeeded")
    count = int((tmp_path / "gate").read_text())
    for channel, name in ((1, "stdout"), (2, "stderr")):
        data = pieces(channel, count)
        assert len(data) < LIMIT
        assert stored(fleet, job, name) == data, f"seed {seed}: {name}: {shown}"
    wait_until(lambda: not list(spool(fleet).iterdir()) or None, "the agent's spool is empty")


def spool(fleet: Fleet) -> Path:
    return fleet.directory / NODE / "state" / "output"


def spooled(fleet: Fleet, job: str, name: str) -> bytes:
    found = list(spool(fleet).glob(f"{job}.*/{name}.0"))
    return found[0].read_bytes() if found else b""


def test_the_agent_is_killed(fleet: Fleet, link: Link, whitelist: dict[str, str], tmp_path: Path, seed: int) -> None:
    """What it had spooled arrives when it returns."""
    chance = random.Random(seed)
    start_agent(fleet, whitelist)
    lost = 0
    for number in range(AGENT_KILLS):
        job = start(fleet, "loud")
        wait_for(fleet, job, "running")
        time.sleep(chance.uniform(0.0, 0.3))
        if number % 2:
            link.down()  # so that it has something that the server has not
            time.sleep(chance.uniform(0.0, 0.3))
        os.kill(fleet.agents[NODE].process.pid, signal.SIGKILL)
        fleet.agents[NODE].process.wait()
        kept = {name: spooled(fleet, job, name) for name in ("stdout", "stderr")}
        lost += any(stored(fleet, job, name) != data for name, data in kept.items())
        link.up()
        start_agent(fleet, whitelist)
        shown = wait_for(fleet, job, "failed")
        assert shown["reasons"] == {NODE: "agent_restarted"}
        for name, data in kept.items():
            assert stored(fleet, job, name) == data, f"seed {seed}: {name} of {job}"
            channel = 1 if name == "stdout" else 2
            assert pieces(channel, len(data) // 3009 + 1).startswith(data)
        wait_until(lambda: not list(spool(fleet).iterdir()) or None, "the agent's spool is empty")
    # That there was something to lose.
    assert lost > AGENT_KILLS / 4, f"seed {seed}"
