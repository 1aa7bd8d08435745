"""What a call of the CLI costs: processor time and wall time of ``pushy --help`` and of a whole ``pushy job status``.

``python -m benchmarks.cli_startup [--times 15]`` starts a server on loopback with one job, calls the real program
again and again, and prints the least and the median. The least is what the program needs; the median also tells of
the machine.

What the libraries alone need stands beside it. Nearly all of `treq`'s import is Twisted's HTTP client with its reactor
and TLS, which every program that speaks HTTPS by Twisted imports: `treq` itself adds some 4 % (by instructions), so
that to do without it would win nothing that is felt.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.fleet import Fleet

PYTHON = sys.executable
PUSHY = str(Path(sys.executable).with_name("pushy"))
GOALS = {"pushy --help": 0.150, "pushy job status last": 0.400}
CALLS: Mapping[str, Sequence[str]] = {
    "python -c pass": (PYTHON, "-c", "pass"),
    "import twisted.web.client": (PYTHON, "-c", "import twisted.web.client"),
    "import treq": (PYTHON, "-c", "import treq"),
    "pushy --help": (PUSHY, "--help"),
    "pushy job start --help": (PUSHY, "job", "start", "--help"),
    "pushy job status last": (PUSHY, "job", "status", "last"),
}


def measure(call: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds of the processor, and on the wall, of one call."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(call, env=environment, stdout=subprocess.DEVNULL, check=True)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, took


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 if a goal is missed by the least processor time."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cli_startup", description=__doc__)
    parser.add_argument("--times", type=int, default=15, metavar="N", help="how often each is called  [default: 15]")
    times: int = parser.parse_args(arguments).times
    missed = False
    with tempfile.TemporaryDirectory(prefix="pushy-bench-") as directory:
        fleet = Fleet(Path(directory))
        try:
            fleet.start_server()
            fleet.cli("job", "start", "--quiet", "true", "nowhere")
            # As installed: Python keeps what it has compiled.
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
            environment |= fleet.cli_environment()
            for title, call in CALLS.items():
                measured = [measure(call, environment) for _ in range(times)]
                (cpu, cpu_median), (wall, wall_median) = (
                    (1000 * min(one), 1000 * statistics.median(one)) for one in zip(*measured, strict=True)
                )
                goal = GOALS.get(title)
                missed |= goal is not None and cpu > 1000 * goal
                print(
                    f"{title:26} processor {cpu:4.0f} ms (median {cpu_median:4.0f}), wall {wall:4.0f} ms "
                    f"(median {wall_median:4.0f})" + (f", goal {1000 * goal:.0f} ms" if goal else ""),
                    flush=True,
                )
        finally:
            fleet.close()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
