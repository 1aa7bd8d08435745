"""What one node that writes very much costs the others: real agents, their jobs and their lines, alone and beside it.

``python -m benchmarks.loud_and_quiet [--quiet 50] [--megabytes 200]`` starts a server, so many agents and one more, all
on loopback. The quiet ones write a line every half second, which is followed, while one of them runs a job that says a
word, again and again. This is measured alone, then while the other one writes as fast as it can: first all of it within
its limit, then nearly all of it beyond. Printed are how long jobs took, how old lines were when they were read, what
the loud agent and the server had resident, and whether a node was taken for down.

The lines have the time of the wall clock, which has to be the same for all processes.
"""

import argparse
import base64
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

from attrs import field, frozen

from benchmarks.agent_output import peak
from benchmarks.report import slowness
from benchmarks.server import Api, Server, cpu_seconds, events, resident_bytes
from demo.processes import wait_until
from pushy_agent.output import missing_line

_MB = 1_000_000
_LOUD = "loud"
_PAUSE = 0.5
_STARTING = 120.0


@frozen(kw_only=True)
class Heard:
    """What was seen of the quiet nodes: when (seconds since the epoch), and how long it took (seconds)."""

    lines: list[tuple[float, float]] = field(factory=list)
    """Each line when it was read, since it was written."""

    jobs: list[tuple[float, float]] = field(factory=list)
    """Each job's end by its feed, since its POST."""


def spread(seen: Sequence[tuple[float, float]], window: tuple[float, float]) -> str:
    """Of what was seen within a time."""
    took = sorted(took for at, took in seen if window[0] <= at <= window[1])
    if not took:
        return "none"
    p50, p99 = (took[len(took) * part // 100] * 1e3 for part in (50, 99))
    return f"{len(took)}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {took[-1] * 1e3:.0f} ms"


class Quiet:
    """The nodes that write little, followed in threads."""

    def __init__(self, server: Server, names: Sequence[str]) -> None:
        self._server = server
        self._names = names

    @contextmanager
    def heard(self, lines: int) -> Iterator[Heard]:
        """Have each of them write so many lines; whoever leaves waits for them."""
        heard, over = Heard(), Event()
        following = Thread(target=self._follow, args=(heard, lines))
        asking = Thread(target=self._ask, args=(heard, over))
        following.start()
        asking.start()
        try:
            yield heard
        finally:
            following.join()
            over.set()
            asking.join()
        if len(heard.lines) != lines * (len(self._names) - 1):
            raise RuntimeError(f"{len(heard.lines)} lines, expected {lines * (len(self._names) - 1)}")

    def _follow(self, heard: Heard, lines: int) -> None:
        with Api(self._server) as api:
            job = api.start_job(self._names[1:], capture="live", command="lines", file=f"raw:{lines}")
            with api.open("GET", f"pushy/job_status_feed/{job}?output=true") as feed:
                for name, data in events(feed):
                    if name == "output":
                        now = time.time()
                        heard.lines.extend(
                            (now, now - float(line)) for line in base64.b64decode(data["data"]).splitlines()
                        )

    def _ask(self, heard: Heard, over: Event) -> None:
        with Api(self._server) as api:
            while not over.wait(0.2):
                began = time.time()
                job = api.start_job(self._names[:1], capture=True, command="say")
                with api.open("GET", f"pushy/job_status_feed/{job}") as feed:
                    ended = [data for name, data in events(feed) if name == "job_complete"]
                if ended and ended[0]["status"] == "complete":
                    heard.jobs.append((time.time(), time.time() - began))


def run_loud(server: Server, command: str, limit: int, size: int) -> tuple[float, float]:
    """The loud job to its end, and what it cost; when that was, in seconds since the epoch."""
    agent, pushyd = server.fleet.agents[_LOUD].process.pid, server.pid
    for pid in (agent, pushyd):
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # begin the peak anew
    before = resident_bytes(agent), resident_bytes(pushyd)
    began, cpu = time.time(), (cpu_seconds(agent), cpu_seconds(pushyd))
    with Api(server) as api:
        job = api.start_job([_LOUD], capture=True, command=command, output_limit=limit)
        with api.open("GET", f"pushy/job_status_feed/{job}") as feed:
            ended = [data["status"] for name, data in events(feed) if name == "job_complete"]
        stream = f"pushy/jobs/{job}/output/{_LOUD}/stdout"

        def complete() -> int | None:
            with api.open("HEAD", stream) as head:
                kept = head.headers["X-Pushy-Output-Bytes"]
                return int(kept) if head.headers["X-Pushy-Output-Complete"] == "true" else None

        kept = wait_until(complete, "all of the loud one's output", seconds=300)
        over = time.time()
        text = server.fleet.fetch("GET", stream)[1]
    whole = len(text) == size and not text.strip(b"x")
    half = limit // 2
    ends = text == b"x" * half + missing_line(size - 2 * half, after=b"x") + b"x" * half
    print(
        f"  loud: {size / _MB:.0f} MB in {over - began:.1f} s, {ended}; {kept / _MB:.1f} MB kept: "
        f"{'all of it' if whole else 'head, a line about what is missing, tail' if ends else 'NOT AS WRITTEN'}; "
        f"agent {(cpu_seconds(agent) - cpu[0]) / size * _MB * 1e3:.1f} ms a MB, "
        f"server {(cpu_seconds(pushyd) - cpu[1]) / size * _MB * 1e3:.1f} (with the quiet ones')"
    )
    for who, pid, resident in (("agent", agent, before[0]), ("server", pushyd, before[1])):
        print(
            f"  {who}: {resident / _MB:.1f} MB before, {peak(pid):.1f} at most, {resident_bytes(pid) / _MB:.1f} after"
        )
    return began, over


def tell(title: str, server: Server, heard: Heard, window: tuple[float, float]) -> None:
    """Print what was seen of the quiet ones within a time."""
    print(
        f"{title}: lines {spread(heard.lines, window)}; jobs {spread(heard.jobs, window)}; "
        f"{server.said('is down')} nodes down; machine at 1/ {slowness():.1f}",
        flush=True,
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet", type=int, default=50, help="agents that write little")
    parser.add_argument("--megabytes", type=int, default=200, help="that the loud one writes")
    arguments = parser.parse_args()
    size = arguments.megabytes * _MB
    lines = f"sh -c 'for i in $(seq $(cat $CHEF_PUSH_JOB_FILE)); do date +%s.%N; sleep {_PAUSE}; done'"
    loud = f"sh -c 'head -c {size} /dev/zero | tr \\\\0 x'"
    names = [f"quiet-{number}" for number in range(arguments.quiet)]
    with TemporaryDirectory(prefix="pushy-bench-") as directory:
        server = Server(Path(directory), max_output=2 * size)
        with closing(server.fleet):
            server.start()
            for name in names:
                server.fleet.start_agent(name, {"lines": lines, "say": "echo here"})
            server.fleet.start_agent(_LOUD, {"loud": loud})
            wait_until(lambda: server.fleet.available([*names, _LOUD]) or None, "the agents", seconds=_STARTING)
            quiet = Quiet(server, names)
            with quiet.heard(20) as heard:
                pass
            tell("alone", server, heard, (0.0, time.time()))
            for title, limit in (("beside one that is kept whole", 2 * size), ("beside a flood", 2**20)):
                with quiet.heard(40) as heard:
                    window = run_loud(server, "loud", limit, size)
                tell(title, server, heard, window)


if __name__ == "__main__":
    main()
