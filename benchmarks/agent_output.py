"""What the output of commands costs an agent: processor time for each MB, and memory.

``python -m benchmarks.agent_output [--megabytes 200]`` starts a server and one agent on loopback, and prints for each
kind of output how long the job took, what the agent and the server used, and the agent's memory at its peak:

- `kept`: random bytes, all of them within the limit, compared byte for byte afterwards;
- `flood`: as fast as a pipe takes it, nearly all of it beyond the limit;
- `lines`: ten lines a second for ten seconds, live.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.agent_idle import processor_seconds
from demo.fleet import Fleet
from demo.processes import wait_until

NODE = "bench"
_MB = 1_000_000
_MIB = 1024 * 1024


@frozen(kw_only=True)
class Kind:
    """A kind of output, the command that makes it, and its bytes."""

    name: str
    command: str
    size: int
    live: bool = False


def peak(pid: int) -> float:
    """MB that a process had resident at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024 / _MB


def run_job(fleet: Fleet, kind: Kind, limit: int) -> tuple[str, float]:
    """A job from its start to its end; its id, and the seconds that it took."""
    job: dict[str, Any] = {
        "command": kind.name,
        "nodes": [NODE],
        "capture_output": "live" if kind.live else True,
        "output_limit": limit,
    }
    began = time.monotonic()
    status, answer = fleet.request("POST", "pushy/jobs", json.dumps(job).encode())
    if status != 201:
        raise RuntimeError(answer)
    job_id = answer["uri"].rpartition("/")[2]

    def ended() -> bool | None:
        return fleet.get(f"pushy/jobs/{job_id}")["nodes"] == {"succeeded": [NODE]} or None

    wait_until(ended, f"the end of {kind.name}", seconds=600)
    return job_id, time.monotonic() - began


def complete(fleet: Fleet, job_id: str) -> bool:
    """Whether the agent's spool has nothing of the job any more."""
    return not list((fleet.directory / NODE / "state" / "output").glob(f"{job_id}.*"))


def measure(fleet: Fleet, kind: Kind, limit: int, expected: bytes | None) -> None:
    """Run one kind, and print."""
    agent = fleet.agents[NODE].process.pid
    server = fleet.server.process.pid if fleet.server else 0
    before = processor_seconds(agent), processor_seconds(server)
    began = time.monotonic()
    job_id, seconds = run_job(fleet, kind, limit)
    used = processor_seconds(agent) - before[0], processor_seconds(server) - before[1]
    size = kind.size / _MB
    print(
        f"{kind.name}: {size:.3f} MB in {seconds:.1f} s; agent {used[0] / seconds:.1%} of a core, {peak(agent):.1f} MB "
        f"at most, {used[0]:.2f} s in all, {1000 * used[0] / size:.1f} ms a MB; server {used[1]:.2f} s",
        flush=True,
    )
    if expected is not None:
        # A result waits for its output for so long and no longer.
        wait_until(lambda: complete(fleet, job_id) or None, "all of the output", seconds=600)
        used = processor_seconds(agent) - before[0], processor_seconds(server) - before[1]
        print(
            f"{kind.name}: all of it in {time.monotonic() - began:.1f} s; agent {1000 * used[0] / size:.1f} ms a MB, "
            f"{peak(agent):.1f} MB at most; server {1000 * used[1] / size:.1f} ms a MB, {peak(server):.1f} MB at most"
        )
        _, data = fleet.fetch("GET", f"pushy/jobs/{job_id}/output/{NODE}/stdout")
        same = hashlib.sha256(data).digest() == expected
        print(f"{kind.name}: {len(data)} bytes stored, {'all as written' if same else 'NOT as written'}", flush=True)


def main() -> int:
    """Measure; always 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200, help="of the outputs that are kept or flood")
    size = parser.parse_args().megabytes * _MB
    with tempfile.TemporaryDirectory(prefix="pushy-bench-") as name:
        directory = Path(name)
        written = directory / "written"
        with written.open("wb") as file, Path("/dev/urandom").open("rb") as random:
            for _ in range(size // _MB):
                file.write(random.read(_MB))
        with written.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        kinds = [
            Kind(
                name="lines",
                command="sh -c 'for i in $(seq 100); do echo line $i; sleep 0.1; done'",
                size=792,
                live=True,
            ),
            Kind(name="flood", command=f"head -c {size} /dev/zero", size=size),
            Kind(name="kept", command=f"cat {written}", size=size),
        ]
        fleet = Fleet(directory / "fleet", {"max_output": 2 * size})
        try:
            fleet.start_server()
            agent = fleet.start_agent(NODE, {kind.name: kind.command for kind in kinds})
            wait_until(lambda: fleet.available([NODE]) or None, "the agent")
            print(f"new: agent {peak(agent.process.pid):.1f} MB at most", flush=True)
            for kind in kinds:
                whole = kind.name == "kept"
                measure(fleet, kind, 2 * size if whole else _MIB, digest if whole else None)
        finally:
            fleet.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
