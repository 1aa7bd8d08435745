"""How long it takes from a node's line to the operator's terminal, and what that costs the operator's machine.

``python -m benchmarks.live_terminal [--nodes 1000] [--seconds 10] [--every 1.0 0.1]`` has so many simulated nodes say a
line each so many seconds, while the real ``pushy job start --live`` shows them on a terminal of its own, and then in a
pipe. Each line begins with the time at which it was sent, so that who reads the other end of the terminal knows its
age. Printed are the ages (goal: p99 at most 300 ms with 1,000 nodes), how many lines were shown and left out, and the
processor time of the program and of the server.

A terminal shows what can be read (:data:`pushy_cli.live_output.ROWS_PER_SECOND`), a pipe gets every line.
"""

import argparse
import os
import pty
import re
import resource
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from benchmarks import rows
from benchmarks.report import slowness
from benchmarks.server import Server, cpu_seconds, running_server
from benchmarks.swarms import running_swarms

PUSHY = str(Path(sys.executable).with_name("pushy"))
GOAL = 0.300
_SENT = re.compile(rb"node-\d+ *(?:\x1b\[0m)? \| (\d+\.\d{6}) ")
_SUCCEEDED = re.compile(rb"(\d+) of \d+ nodes succeeded")
_LEFT_OUT = re.compile(rb"In all, ([\d,]+) lines")


@contextmanager
def other_end(*, terminal: bool) -> Iterator[tuple[int, int]]:
    """Two descriptors: what is written to the second is read from the first."""
    if terminal:
        reader, writer = pty.openpty()
        ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    else:
        reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)


@frozen(kw_only=True)
class Seen:
    """What was seen on the terminal, or in the pipe."""

    ages: list[float]
    """Seconds from each line's sending to its being shown, sorted."""

    left_out: int
    succeeded: int
    """Nodes that went on to their end; on a machine that has too much to do, some are taken for lost."""


def follow(server: Server, nodes: int, *, terminal: bool) -> Seen:
    """Start a job as an operator does, and read what is shown to its end."""
    environment = {**os.environ, **server.fleet.cli_environment(), "TERM": "xterm", "LANG": "C.UTF-8"}
    words = ["job", "start", "--live", "--yes", "-q", "1", "talk", f"node-[00000-{nodes - 1:05}]"]
    ages: list[float] = []
    left_out = succeeded = 0
    rest = b""
    with other_end(terminal=terminal) as (reader, writer):
        program = subprocess.Popen([PUSHY, *words], env=environment, stdin=writer, stdout=writer, stderr=writer)
        os.close(writer)
        while data := read(reader):
            now = time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if sent := _SENT.search(line):
                    ages.append(now - float(sent[1]))
                elif told := _LEFT_OUT.search(line):
                    left_out = int(told[1].replace(b",", b""))
                elif ended := _SUCCEEDED.search(line):
                    succeeded = int(ended[1])
        program.wait()
    return Seen(ages=sorted(ages), left_out=left_out, succeeded=succeeded)


def read(descriptor: int) -> bytes:
    """The next bytes; none at the end, which a terminal tells as an error."""
    try:
        return os.read(descriptor, 2**16)
    except OSError:
        return b""


def measure(server: Server, nodes: int, lines: int, *, terminal: bool) -> bool:
    """One job, followed to its end; whether the goal is met."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    server_cpu = cpu_seconds(server.pid)
    seen = follow(server, nodes, terminal=terminal)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    ages = seen.ages
    if not seen.succeeded * lines <= len(ages) + seen.left_out <= nodes * lines:
        raise RuntimeError(f"{len(ages)} lines shown and {seen.left_out} left out, of {nodes * lines}")
    p99 = ages[len(ages) * 99 // 100]
    print(
        f"{'terminal' if terminal else 'pipe':9} {seen.succeeded} of {nodes} nodes, in {took:.1f} s: "
        f"{len(ages)} lines shown, {seen.left_out} left out; p50 {ages[len(ages) // 2] * 1e3:.0f} ms, "
        f"p99 {p99 * 1e3:.0f} ms, worst {ages[-1] * 1e3:.0f} ms; pushy {cpu / took:.0%} of a core, server "
        f"{(cpu_seconds(server.pid) - server_cpu) / took:.0%}",
        flush=True,
    )
    return p99 <= GOAL


def main(arguments: Sequence[str]) -> int:
    """Measure; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10, help="how long each node speaks")
    parser.add_argument("--every", type=float, nargs="+", default=[1.0, 0.1], help="seconds between two of its lines")
    parser.add_argument("--primes", type=Path, default=Path.home() / ".cache" / "pushy-bench" / "primes.json")
    given = parser.parse_args(arguments)
    print(f"machine at 1/ {slowness():.1f}", flush=True)
    met = True
    for pause in given.every:
        lines = max(1, round(given.seconds / pause))
        options = ["--lines", str(lines), "--pause", str(pause)]
        with (
            TemporaryDirectory(prefix="pushy-bench-") as directory,
            running_server(Path(directory), primes=given.primes, nodes=given.nodes) as server,
            running_swarms(server, given.primes, given.nodes, kind="benchmarks.talkers", options=options) as swarms,
        ):
            rows.coming_online(server, swarms)
            print(f"a line each {pause} s:", flush=True)
            for terminal in (True, False):
                met &= measure(server, given.nodes, lines, terminal=terminal)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
