"""``make bench``: every row of the goals, at its size and at a tenth of it, as a table and as JSON.

``python -m benchmarks.run [ROW …] [--tenth] [--json FILE] [--baseline FILE]``. Rows are measured one after the other,
each on a server of its own or on one whose nodes stay connected. A row that cannot be measured is told and counts as
missed; the exit status is 0 unless that happened, for figures are for people to judge.
"""

import argparse
import gc
import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attrs import define, field

from benchmarks import bare, rows, sketch
from benchmarks.identities import node_name
from benchmarks.report import GOALS, Result, slowness, table, told
from benchmarks.rows import Figures
from benchmarks.server import Server, running_server
from benchmarks.swarms import Swarms, running_swarms


@define(kw_only=True)
class Bench:
    """What is measured and where to."""

    wanted: frozenset[str]
    tenth: bool
    largest: int
    idle_seconds: float
    primes: Path
    version: str
    results: list[Result] = field(factory=list)
    failed: int = 0

    def run(self) -> None:
        """Measure all that is wanted."""
        for size in self._sizes(1000) if "bare" in self.wanted else []:
            self._measure("bare", size, partial(bare.measure, size))
        for size in self._sizes(1000) if "sketch" in self.wanted else []:
            self._measure("sketch", size, partial(sketch.measure, self.primes, size))
        self._fleets()
        for size in self._sizes(1000):
            self._on_fleet(size, ["heartbeat"], interval=0.1)
        self._alone("sequential", [1], lambda server, _: rows.sequential_jobs(server, node_name(0)), nodes=True)
        self._alone("creation", self._sizes(10_000), lambda server, size: rows.job_creation(server, count=size))
        self._alone("one job", self._sizes(10_000), lambda server, size: rows.one_job(server, count=size))
        self._alone("list", self._sizes(1_000_000), lambda server, size: rows.lists(server, jobs_kept=size))
        for size in self._sizes(100) if "real agents" in self.wanted else []:
            with tempfile.TemporaryDirectory(prefix="pushy-bench-") as directory:
                self._measure("real agents", size, partial(rows.real_agents, Path(directory), count=size))

    def _fleets(self) -> None:
        """The rows that need nodes; those of one size on one server, one after the other."""
        for size in (100, 500, 1000, 5000, 10_000) if self.tenth else (1000, 5000, 10_000):
            wanted = ["online, TLS", "job", "job, 2 KB of output"]
            if size in self._sizes(10_000):
                wanted += ["idle", "restart"]
            self._on_fleet(size, wanted)
        for size in self._sizes(10_000):
            self._on_fleet(size, ["online, plain"], tls=False)
        for size in self._sizes(1000):
            self._on_fleet(size, ["feed readers"], tls=False)

    def _on_fleet(self, size: int, wanted: list[str], *, tls: bool = True, interval: float | None = None) -> None:
        measures: dict[str, Callable[[Server, Swarms], Figures]] = {
            "job": rows.jobs,
            "job, 2 KB of output": lambda server, swarms: rows.jobs(server, swarms, capture=True),
            "feed readers": lambda server, swarms: rows.feed_readers(server, swarms, readers=size),
            "heartbeat": lambda server, swarms: rows.idle(server, swarms, seconds=10),
            "idle": lambda server, swarms: rows.idle(server, swarms, seconds=self.idle_seconds),
            "restart": rows.restart,
        }
        if size > self.largest or not self.wanted.intersection(wanted):
            return
        with (
            self._server(size, tls=tls) as server,
            running_swarms(server, self.primes, size, version=self.version, interval=interval) as swarms,
        ):
            online = "online, TLS" if tls else "online, plain"
            self._measure(online, size, lambda: rows.coming_online(server, swarms))
            for row in wanted:
                if row in self.wanted and row in measures:
                    self._measure(row, size, partial(measures[row], server, swarms))

    def _alone(
        self, row: str, sizes: list[int], measure: Callable[[Server, int], Figures], *, nodes: bool = False
    ) -> None:
        """A row that needs no nodes, or one."""
        if row not in self.wanted:
            return
        for size in sizes:
            with self._server(1, tls=True) as server, running_swarms(server, self.primes, 1) as swarms:
                if nodes:
                    rows.coming_online(server, swarms)
                self._measure(row, size, partial(measure, server, size))

    @contextmanager
    def _server(self, nodes: int, *, tls: bool) -> Iterator[Server]:
        with (
            tempfile.TemporaryDirectory(prefix="pushy-bench-") as directory,
            running_server(Path(directory), primes=self.primes, nodes=nodes, tls=tls) as server,
        ):
            yield server

    def _sizes(self, size: int) -> list[int]:
        return [size // 10, size] if self.tenth else [size]

    def _measure(self, row: str, size: int, measure: Callable[[], Figures]) -> None:
        if row not in self.wanted:
            measure()  # what follows needs it
            return
        slow = slowness()
        try:
            figures = measure()
        except Exception:
            traceback.print_exc()
            self.failed += 1
            return
        result = Result(row=row, size=size, figures=figures, slowness=(slow + slowness()) / 2)
        self.results.append(result)
        print(f"{row:20} {size:>9,}  {told(figures)}  (machine at 1/ {result.slowness:.1f})", flush=True)


def main() -> int:
    """Measure, print, keep."""
    known = {"bare": None, "sketch": None} | dict.fromkeys(row for row, _ in GOALS) | {"job, 2 KB of output": None}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of: {'; '.join(known)} (default: all)")
    parser.add_argument("--largest", type=int, default=10_000, help="leave out fleets that are larger")
    parser.add_argument("--tenth", action="store_true", help="each row also at a tenth of its size")
    parser.add_argument("--idle-seconds", type=float, default=60, help="how long 10,000 nodes are watched")
    parser.add_argument("--version", default="2.0", help="of the protocol that simulated nodes speak (default: 2.0)")
    parser.add_argument("--primes", type=Path, default=Path.home() / ".cache" / "pushy-bench" / "primes.json")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--baseline", type=Path, help="results of an earlier --json, to compare with")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(known):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; expected some of: {'; '.join(known)}")
    bench = Bench(
        wanted=frozenset(arguments.rows or known),
        tenth=arguments.tenth,
        largest=arguments.largest,
        idle_seconds=arguments.idle_seconds,
        primes=arguments.primes,
        version=arguments.version,
    )
    gc.disable()  # of this process, which only waits
    bench.run()
    baseline: dict[str, Figures] = {}
    if arguments.baseline:
        baseline = {f"{one['row']} {one['size']}": one["figures"] for one in json.loads(arguments.baseline.read_text())}
    print(table(bench.results, baseline))
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                [
                    {"row": one.row, "size": one.size, "figures": one.figures, "slowness": one.slowness}
                    for one in bench.results
                ],
                indent=1,
            )
        )
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
