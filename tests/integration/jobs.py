"""What tests with real processes ask a fleet for, and wait for."""

import json
from collections.abc import Mapping, Sequence

from demo.fleet import Fleet
from demo.processes import DidNotHappen, wait_until


def start(fleet: Fleet, command: str, nodes: Sequence[str], **more: object) -> str:
    """Start a job; its id."""
    body = json.dumps({"command": command, "nodes": list(nodes), **more}).encode()
    status, answer = fleet.request("POST", "pushy/jobs", body)
    assert status == 201, answer
    return str(answer["uri"].rpartition("/")[2])


def wait_for_nodes(fleet: Fleet, job: str, nodes: Mapping[str, Sequence[str]], *, seconds: float = 30) -> None:
    """Wait until the nodes of a job have these statuses."""
    shown: dict[str, list[str]] = {}

    def has_them() -> bool | None:
        nonlocal shown
        shown = fleet.get(f"pushy/jobs/{job}")["nodes"]
        return shown == nodes or None

    try:
        wait_until(has_them, f"{nodes} in {job}", seconds=seconds)
    except DidNotHappen as error:
        raise DidNotHappen(f"{error}, but {shown}") from None


def reason(fleet: Fleet, job: str, node: str) -> str:
    """Why a node's part in a job ended so."""
    return str(fleet.get(f"pushy/jobs/{job}?detail=true")["reasons"][node])
