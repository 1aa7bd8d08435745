"""What an agent costs: its memory when it is new and after jobs, and its processor time at a 1 s heartbeat.

``python -m benchmarks.agent_idle [--jobs 1000] [--seconds 60]`` starts a server and one agent on loopback, and prints.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from demo.fleet import Fleet
from demo.processes import wait_until

NODE = "bench"
_KIB = 1024


def memory(pid: int) -> dict[str, int]:
    """Resident and unique memory in bytes, threads, and open descriptors of a process."""
    sizes: dict[str, int] = {"resident": 0, "unique": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, size = line.partition(":")
        if name == "Rss":
            sizes["resident"] = int(size.split()[0]) * _KIB
        elif name in {"Private_Clean", "Private_Dirty"}:
            sizes["unique"] += int(size.split()[0]) * _KIB
    sizes["threads"] = len(list(Path(f"/proc/{pid}/task").iterdir()))
    sizes["descriptors"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return sizes


def processor_seconds(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def tell(title: str, pid: int) -> None:
    """Print the memory of a process."""
    sizes = memory(pid)
    print(
        f"{title}: {sizes['resident'] / 1e6:.1f} MB resident, {sizes['unique'] / 1e6:.1f} MB unique, "
        f"{sizes['threads']} threads, {sizes['descriptors']} descriptors",
        flush=True,
    )


def run_job(fleet: Fleet) -> None:
    """A job with output, from its start to its end."""
    body = json.dumps({"command": "say", "nodes": [NODE], "capture_output": True}).encode()
    status, answer = fleet.request("POST", "pushy/jobs", body)
    if status != 201:
        raise RuntimeError(answer)
    path = "pushy/jobs/" + answer["uri"].rpartition("/")[2]
    wait_until(lambda: fleet.get(path)["status"] == "complete" or None, "the job's end")


def main() -> int:
    """Measure; always 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pushy-bench-") as directory:
        fleet = Fleet(Path(directory))
        try:
            fleet.start_server()
            pid = fleet.start_agent(NODE, {"say": "echo here"}).process.pid
            wait_until(lambda: fleet.available([NODE]) or None, "the agent")
            tell("new", pid)
            before = processor_seconds(pid)
            time.sleep(arguments.seconds)
            share = (processor_seconds(pid) - before) / arguments.seconds
            print(f"idle for {arguments.seconds:.0f} s: {share:.2%} of a core", flush=True)
            for number in range(1, arguments.jobs + 1):
                run_job(fleet)
                if number in {10, 100, arguments.jobs}:
                    tell(f"after {number} jobs", pid)
        finally:
            fleet.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
