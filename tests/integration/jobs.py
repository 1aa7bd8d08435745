"""What tests with real processes ask a fleet for, and wait for."""

import json
from collections.abc import Mapping, Sequence

from demo.fleet import Fleet
from demo.processes import wait_until


def start(fleet: Fleet, command: str, nodes: Sequence[str], **more: object) -> str:
    """Start a job; its id."""
    body = json.dumps({"command": command, "nodes": list(nodes), **more}).encode()
    status, answer = fleet.request("POST", "pushy/jobs", body)
    assert status == 201, answer
    return str(answer["uri"].rpartition("/")[2])


def wait_for_nodes(fleet: Fleet, job: str, nodes: Mapping[str, Sequence[str]], *, seconds: float = 30) -> None:
    """Wait until the nodes of a job have these statuses."""
    wait_until(lambda: fleet.get(f"pushy/jobs/{job}")["nodes"] == nodes or None, f"{nodes} in {job}", seconds=seconds)


def reason(fleet: Fleet, job: str, node: str) -> str:
    """Why a node's part in a job ended so."""
    return str(fleet.get(f"pushy/jobs/{job}?detail=true")["reasons"][node])
