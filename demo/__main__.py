"""``make demo``: the main job from end to end, on a server and three agents of this machine.

Exit status 0 only if every job ended as it should.
"""

import argparse
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen

from demo.fleet import Fleet
from demo.processes import wait_until

NODES = ("web1", "web2", "db1")


@frozen(kw_only=True)
class Act:
    """A command of the demo, and what has to come of it."""

    title: str
    arguments: tuple[str, ...]
    status: int
    shows: tuple[str, ...]


ACTS = (
    Act(
        title="A job on all three nodes, with their output",
        arguments=("job", "start", "--capture", "greet", *NODES),
        status=0,
        shows=("Hello from web1", "Hello from web2", "Hello from db1"),
    ),
    Act(
        title="A job that fails on one node (exit status 1)",
        arguments=("job", "start", "--capture", "check-disk", *NODES),
        status=1,
        shows=("No space left on db1", "exit 3"),
    ),
    Act(
        title="A job that misses its quorum: two nodes do not allow it, so it runs nowhere (exit status 3)",
        arguments=("job", "start", "restart-db", *NODES),
        status=3,
        shows=("not_whitelisted",),
    ),
    Act(title="The nodes", arguments=("node", "status"), status=0, shows=NODES),
    Act(title="The jobs", arguments=("job", "list"), status=0, shows=("greet", "check-disk", "restart-db")),
)


def whitelist(node: str) -> dict[str, str]:
    """What a node of the demo allows."""
    full = f"sh -c 'echo \"No space left on {node}\" >&2; exit 3'"
    allowed = {
        "greet": f"echo 'Hello from {node}'",
        "check-disk": full if node.startswith("db") else "echo 'Disk is fine'",
        "sleep": "sleep 30",
    }
    return {**allowed, "restart-db": "true"} if node.startswith("db") else allowed


def main(arguments: Sequence[str], *, make_fleet: Callable[[Path], Fleet] = Fleet, acts: Sequence[Act] = ACTS) -> int:
    """Run the demo; its exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running, and say how to go on")
    keep: bool = parser.parse_args(arguments).keep
    directory = Path(tempfile.mkdtemp(prefix="pushy-demo-"))
    fleet = make_fleet(directory)
    began = time.monotonic()
    passed = False
    try:
        _say(f"Starting a server and {len(NODES)} agents below {directory}")
        _start(fleet)
        print(f"  ready after {time.monotonic() - began:.1f} s")
        ended_well = [_play(fleet, act) for act in acts]  # all of them, also after one that did not
        passed = all(ended_well)
    finally:
        if keep and passed:
            _explain(fleet)
        else:
            fleet.close()
            if passed:
                shutil.rmtree(directory)
    _say(f"Every job ended as it should, in {time.monotonic() - began:.1f} s" if passed else f"See {directory}/*.log")
    return 0 if passed else 1


def _start(fleet: Fleet) -> None:
    fleet.start_server()
    for node in NODES:
        fleet.start_agent(node, whitelist(node))
    wait_until(lambda: fleet.available(NODES) or None, "all agents available")


def _play(fleet: Fleet, act: Act) -> bool:
    _say(act.title)
    print(f"$ pushy {shlex.join(act.arguments)}", flush=True)
    result = fleet.cli(*act.arguments, merged=True)
    print(result.stdout, end="", flush=True)
    wrong = [f"to read {text!r}" for text in act.shows if text not in result.stdout]
    if result.returncode != act.status:
        wrong.append(f"exit status {act.status}, got {result.returncode}")
    for expected in wrong:
        print(f"DEMO FAILED: expected {expected}", file=sys.stderr)
    return not wrong


def _explain(fleet: Fleet) -> None:
    environment = fleet.directory / "env"
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in fleet.cli_environment().items()]
    bin_directory = Path(sys.executable).parent
    environment.write_text("".join([*lines, f'export PATH={shlex.quote(str(bin_directory))}:"$PATH"\n']))
    pids = [str(process.process.pid) for process in fleet.processes()]
    _say("It is left running. Try:")
    print(f"  . {environment}")
    print("  pushy node status")
    print(f"  pushy job start --capture greet {' '.join(NODES)}")
    print(f"  pushy job start sleep {NODES[0]}        # 30 seconds; see it with: pushy job status last")
    print(f"  tail -f {fleet.directory}/*.log")
    print("and stop it with:")
    print(f"  kill {' '.join(pids)} && rm -r {fleet.directory}")


def _say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
