"""What output costs the server, and how long it takes to who watches.

``python -m benchmarks.output [--nodes 1000] [--seconds 10] [--megabytes 48]`` has so many simulated nodes write ten
lines a second each, and send them as agents do, while one reader follows the feed with ``?output=true``; then one node
writes very much. Printed are the server's processor time, its memory, and the time from a line's writing to the reader.
"""

import argparse
import base64
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import rows
from benchmarks.identities import node_name
from benchmarks.report import slowness
from benchmarks.server import Api, Server, cpu_seconds, events, resident_bytes, running_server
from benchmarks.swarms import Swarms, running_swarms

_PAUSE = 0.1


def many(server: Server, swarms: Swarms, nodes: int, lines: int) -> None:
    """All nodes at once, and a reader."""
    rows.coming_online(server, swarms)
    with Api(server) as api:
        began, cpu, swarm = time.monotonic(), cpu_seconds(server.pid), swarms.cpu_seconds()
        job = api.start_job([node_name(number) for number in range(nodes)], capture="live")
        delays: list[float] = []
        with api.open("GET", f"pushy/job_status_feed/{job}?output=true") as feed:
            rest = b""
            while piece := feed.read1(2**16):
                now = time.monotonic()
                *whole, rest = (rest + piece).split(b"\n\n")
                for event in whole:
                    if event.startswith(b"event: output"):
                        said = base64.b64decode(json.loads(event.rpartition(b"\ndata: ")[2])["data"])
                        delays += [now - float(line.split()[0]) for line in said.splitlines()]
        took, cpu = time.monotonic() - began, cpu_seconds(server.pid) - cpu
        swarm = swarms.cpu_seconds() - swarm
        ended = {status: len(names) for status, names in api.get(f"pushy/jobs/{job}")["nodes"].items()}
    counts = swarms.report()
    delays.sort()
    if ended != {"succeeded": nodes} or len(delays) != nodes * lines:
        raise RuntimeError(f"{len(delays)} of {nodes * lines} lines; the nodes: {ended}; {dict(counts)}")
    print(
        f"{nodes} nodes, {len(delays)} lines in {took:.1f} s: {cpu / took * 100:.0f} % of a core, "
        f"{cpu / len(delays) * 1e6:.0f} us a line; to the reader p50 {delays[len(delays) // 2] * 1e3:.0f} ms, "
        f"p99 {delays[len(delays) * 99 // 100] * 1e3:.0f} ms, worst {delays[-1] * 1e3:.0f} ms; "
        f"{counts['output']} messages, {counts['output acks']} acknowledgements, {counts['again']} times again; "
        f"{server.said('is down')} nodes down; the nodes themselves {swarm / took * 100:.0f} % of a core; "
        f"{resident_bytes(server.pid) / 2**20:.0f} MB resident"
    )


def loud(server: Server, swarms: Swarms, size: int) -> None:
    """One node that says very much."""
    rows.coming_online(server, swarms)
    with Api(server) as api:
        before = resident_bytes(server.pid)
        began, cpu = time.monotonic(), cpu_seconds(server.pid)
        job = api.start_job([node_name(0)], capture=True, output_limit=size)
        with api.open("GET", f"pushy/job_status_feed/{job}") as feed:
            for _ in events(feed):
                pass
        took, cpu = time.monotonic() - began, cpu_seconds(server.pid) - cpu
        after = resident_bytes(server.pid)
        with api.open("GET", f"pushy/jobs/{job}/output/{node_name(0)}/stdout") as output:
            read = 0
            while piece := output.read(2**20):
                read += len(piece)
    assert read == size, read
    print(
        f"one node, {size / 2**20:.0f} MB in {took:.1f} s: {size / 2**20 / took:.1f} MB/s, "
        f"{cpu / size * 2**20 * 1e3:.1f} ms of processor a MB; {(after - before) / 2**20:.0f} MB more resident; "
        f"{swarms.report()['again']} times again"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--megabytes", type=int, default=48)
    parser.add_argument("--primes", type=Path, default=Path.home() / ".cache" / "pushy-bench" / "primes.json")
    arguments = parser.parse_args()
    print(f"machine at 1/ {slowness():.1f}")
    lines, size = int(arguments.seconds / _PAUSE), arguments.megabytes * 2**20
    for nodes, options in (
        (arguments.nodes, ["--lines", str(lines), "--pause", str(_PAUSE)]),
        (1, ["--size", str(size)]),
    ):
        with (
            TemporaryDirectory(prefix="pushy-bench-") as directory,
            running_server(Path(directory), primes=arguments.primes, nodes=nodes) as server,
            running_swarms(server, arguments.primes, nodes, kind="benchmarks.talkers", options=options) as swarms,
        ):
            if nodes > 1:
                many(server, swarms, nodes, lines)
            else:
                loud(server, swarms, size)


if __name__ == "__main__":
    main()
