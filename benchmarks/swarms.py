"""The processes of simulated nodes (:mod:`benchmarks.swarm`), started, asked and ended."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.server import cpu_seconds

_NODES_PER_PROCESS = 5000  # two descriptors a node, of 20,000 that a process may have
_LOOK_SECONDS = 0.05


class Target(Protocol):
    """The server that nodes come to."""

    @property
    def url(self) -> str:
        """Of the organization."""

    @property
    def ca(self) -> Path | None:
        """Who signed its certificate; None over plain HTTP."""


class Swarms:
    """As many processes as the nodes need."""

    def __init__(
        self,
        server: Target,
        primes: Path,
        count: int,
        *,
        version: str = "2.0",
        interval: float | None = None,
        kind: str = "benchmarks.swarm",
        options: Sequence[str] = (),
    ) -> None:
        """:param kind: the module that is such a process, and `options` of its own"""
        self.count = count
        processes = -(-count // _NODES_PER_PROCESS)
        each = -(-count // processes)
        arguments = ["--url", server.url, "--primes", str(primes), "--version", version, *options]
        if server.ca:
            arguments += ["--ca", str(server.ca)]
        if interval:
            arguments += ["--interval", str(interval)]
        self._processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", kind, *arguments),
                    *("--first", str(first), "--count", str(min(each, count - first))),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            for first in range(0, count, each)
        ]
        for process in self._processes:
            self._hear(process)  # that it is ready

    def start(self) -> None:
        """Let the nodes come online."""
        self._say("start")

    def go(self) -> None:
        """Let them vote for the job that waits."""
        self._say("go")

    def report(self) -> Counter[str]:
        """The counts of all nodes."""
        self._say("report")
        total: Counter[str] = Counter()
        for process in self._processes:
            total.update(self._hear(process))
        return total

    def wait(self, reached: Callable[[Counter[str]], bool], *, seconds: float) -> Counter[str]:
        """The first counts that are as wanted."""
        end = time.monotonic() + seconds
        while not reached(counts := self.report()):
            if time.monotonic() > end:
                raise RuntimeError(f"not within {seconds} s: {dict(counts)}")
            time.sleep(_LOOK_SECONDS)
        return counts

    def cpu_seconds(self) -> float:
        """Processor time of all of them."""
        return sum(cpu_seconds(process.pid) for process in self._processes)

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    def _say(self, word: str) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n")

    @staticmethod
    def _hear(process: "subprocess.Popen[str]") -> dict[str, int]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a swarm ended with {process.wait()}")
        counts: dict[str, int] = json.loads(line)
        return counts


@contextmanager
def running_swarms(
    server: Target,
    primes: Path,
    count: int,
    *,
    version: str = "2.0",
    interval: float | None = None,
    kind: str = "benchmarks.swarm",
    options: Sequence[str] = (),
) -> Iterator[Swarms]:
    """Nodes that are ready to come online."""
    swarms = Swarms(server, primes, count, version=version, interval=interval, kind=kind, options=options)
    try:
        yield swarms
    finally:
        swarms.close()
