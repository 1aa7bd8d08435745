"""The rows of the table: each drives a server in one way and gives figures. What the goals are is for `run`.

Seconds are of the wall and depend on what else the machine does; processor time (`cpu`) is the server's alone.
"""

import json
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from benchmarks.identities import node_name
from benchmarks.server import Api, Server, cpu_seconds, events, resident_bytes
from benchmarks.swarms import Swarms
from demo.fleet import SERVER_NAME
from demo.processes import wait_until
from pushy_protocol import http_signing
from pushy_protocol.keys import parse_private_key
from pushyd.store.job_lists import digest

Figures = dict[str, float]

_JOIN_SECONDS = 600.0
SETTLE_SECONDS = 1.0
"""For which a server is left alone between two jobs that are measured."""

_LOOK_SECONDS = 0.1
_JOBS_BEFORE = 100


def names(count: int) -> list[str]:
    """The names of the first nodes."""
    return [node_name(number) for number in range(count)]


def come_online(server: Server, swarms: Swarms) -> Counter[str]:
    """Have all nodes come online, until the server has them available; what the swarms counted."""
    swarms.start()
    counts = swarms.wait(lambda counts: counts["available"] >= swarms.count, seconds=_JOIN_SECONDS)
    # They have said that they are; now the server has to have read it.
    with Api(server) as caller:
        while available(caller) < swarms.count:
            time.sleep(_LOOK_SECONDS)
    return counts


def available(caller: Api) -> int:
    """How many nodes are available."""
    return sum(state["availability"] == "available" for state in caller.get("pushy/node_states"))


def coming_online(server: Server, swarms: Swarms) -> Figures:
    """All nodes of the swarms, from nothing to available."""
    memory = resident_bytes(server.pid)
    began, cpu = time.monotonic(), cpu_seconds(server.pid)
    counts = come_online(server, swarms)
    seconds = time.monotonic() - began
    _require(not counts["not configured"], "a configuration was refused")
    return {
        "nodes/s": swarms.count / seconds,
        "cpu ms/node": (cpu_seconds(server.pid) - cpu) / swarms.count * 1e3,
        "KB/node": (resident_bytes(server.pid) - memory) / swarms.count / 1e3,
    }


def idle(server: Server, swarms: Swarms, *, seconds: float) -> Figures:
    """Heartbeats and nothing else."""
    before, cpu, began = swarms.report()["heartbeat"], cpu_seconds(server.pid), time.monotonic()
    time.sleep(seconds)
    beats, spent = swarms.report()["heartbeat"] - before, cpu_seconds(server.pid) - cpu
    return {
        "core %": spent / (time.monotonic() - began) * 100,
        "cpu us/heartbeat": spent / beats * 1e6,
        "heartbeats/s": beats / (time.monotonic() - began),
        "wrongly down": server.said("is down"),
    }


def jobs(server: Server, swarms: Swarms, *, capture: bool = False, times: int = 5) -> Figures:
    """A job that does nothing on all nodes, from the POST until the feed says that it is complete; the median."""
    wanted = names(swarms.count)
    seconds, cpu, posts = [], [], []
    with Api(server) as reader, Api(server) as caller:
        feed = events(reader.open("GET", "pushy/job_status_feed"))
        for _ in range(times):
            time.sleep(SETTLE_SECONDS)  # what the one before has left to write
            began, spent = time.monotonic(), cpu_seconds(server.pid)
            job = caller.start_job(wanted, capture=capture)
            posts.append(time.monotonic() - began)
            status = _wait_for_end(feed, job)
            seconds.append(time.monotonic() - began)
            cpu.append(cpu_seconds(server.pid) - spent)
            _require(status == "complete", f"the job is {status}")
        nodes = caller.get(f"pushy/jobs/{job}")["nodes"]
        _require(len(nodes.get("succeeded", [])) == swarms.count, "not every node has succeeded")
    return {
        "s": statistics.median(seconds),
        "cpu ms/node": statistics.median(cpu) / swarms.count * 1e3,
        "post s": statistics.median(posts),
    }


def sequential_jobs(server: Server, node: str, *, times: int = 200) -> Figures:
    """One job on one node, again and again."""
    seconds = []
    with Api(server) as reader, Api(server) as caller:
        feed = events(reader.open("GET", "pushy/job_status_feed"))
        cpu = cpu_seconds(server.pid)
        for _ in range(times):
            began = time.monotonic()
            _wait_for_end(feed, caller.start_job([node]))
            seconds.append(time.monotonic() - began)
        cpu = cpu_seconds(server.pid) - cpu
    quantiles = statistics.quantiles(seconds, n=20)
    return {"p50 ms": quantiles[9] * 1e3, "p95 ms": quantiles[18] * 1e3, "cpu ms/job": cpu / times * 1e3}


def job_creation(server: Server, *, count: int, times: int = 5) -> Figures:
    """POST of a job of many nodes (of which none is there), and of small ones at the same time.

    There were a hundred such jobs before: what making one costs may not depend on that.
    """
    wanted = names(count)
    assert server.fleet.server is not None
    server.fleet.server.stop()
    server.keep_jobs(_JOBS_BEFORE, wanted)
    server.start()
    seconds, waits = [], []
    with Api(server) as caller, Api(server) as other:
        for _ in range(times):
            began = time.monotonic()
            large = Thread(target=caller.start_job, args=[wanted])
            large.start()
            while large.is_alive():
                small = time.monotonic()
                other.start_job([node_name(0)])
                waits.append(time.monotonic() - small)
                time.sleep(0.01)
            large.join()
            time.sleep(SETTLE_SECONDS)
            began = time.monotonic()
            caller.start_job(wanted)
            seconds.append(time.monotonic() - began)
            time.sleep(SETTLE_SECONDS)
    return {"s": statistics.median(seconds), "other's wait ms, worst": max(waits) * 1e3}


def restart(server: Server, swarms: Swarms) -> Figures:
    """Kill the server under its nodes and start it again, until all are available."""
    before = swarms.report()["aborted"]
    assert server.fleet.server is not None
    server.fleet.server.kill()
    began = time.monotonic()
    server.start()
    started = time.monotonic() - began
    cpu = cpu_seconds(server.pid)
    swarms.wait(lambda counts: counts["aborted"] >= before + swarms.count, seconds=_JOIN_SECONDS)
    # They have answered; now the server has to have read it. Who asks too often is one more thing that it has to do.
    with Api(server) as caller:
        while available(caller) < swarms.count:
            time.sleep(SETTLE_SECONDS)
            _require(time.monotonic() - began < _JOIN_SECONDS, "not all nodes are available again")
    seconds = time.monotonic() - began
    spent = cpu_seconds(server.pid) - cpu
    return {"s": seconds, "of it its start": started, "cpu ms/node": spent / swarms.count * 1e3}


def lists(server: Server, *, jobs_kept: int, times: int = 20) -> Figures:
    """The first page of the list, among many jobs that have ended."""
    _keep_jobs(server, jobs_kept)
    with Api(server) as caller:
        return {"ms": _median_ms(lambda: caller.get("pushy/jobs?limit=50"), times)}


def one_job(server: Server, *, count: int, times: int = 20) -> Figures:
    """One job of many nodes as JSON, out of the store."""
    with Api(server) as reader, Api(server) as caller:
        feed = events(reader.open("GET", "pushy/job_status_feed"))
        job = caller.start_job(names(count))
        _wait_for_end(feed, job)
        time.sleep(SETTLE_SECONDS)
        return {"ms": _median_ms(lambda: caller.get(f"pushy/jobs/{job}"), times)}


def feed_readers(server: Server, swarms: Swarms, *, readers: int) -> Figures:
    """A job that many read along, beside one that nobody does; from the first vote to the end."""
    alone = statistics.median(_held_job(server, swarms, 0)["s"] for _ in range(3))
    figures = _held_job(server, swarms, readers)
    return {**figures, "times the job alone": figures["s"] / alone}


def _held_job(server: Server, swarms: Swarms, readers: int) -> Figures:
    """A job whose nodes vote only once all its readers are connected."""
    with Api(server) as reader, Api(server) as caller:
        feed = events(reader.open("GET", "pushy/job_status_feed"))
        job = caller.start_job(names(swarms.count), command="wait")
        with _reading(server, job, readers) as process:
            time.sleep(SETTLE_SECONDS)
            cpu, began = cpu_seconds(server.pid), time.monotonic()
            swarms.go()
            _wait_for_end(feed, job)
            seconds = time.monotonic() - began
            assert process.stdout is not None
            seen: list[int] = json.loads(process.stdout.readline())
            all_read = time.monotonic() - began
    expected = 3 * swarms.count + 3
    _require(seen == [expected] * readers, f"expected {expected} events, got {set(seen)}")
    return {"s": seconds, "all have read s": all_read, "cpu s": cpu_seconds(server.pid) - cpu}


def real_agents(directory: Path, *, count: int) -> Figures:
    """Real agents, and the CLI as a whole command."""
    server = Server(directory)
    fleet = server.fleet
    agents = [f"agent-{number:03}" for number in range(count)]
    try:
        server.start()
        for name in agents:
            fleet.start_agent(name, {"true": "true"})
            if len(fleet.agents) % 10 == 0:
                wait_until(lambda: fleet.available(list(fleet.agents)) or None, "the agents", seconds=120)
        wait_until(lambda: fleet.available(agents) or None, "the agents", seconds=300)
        all_of_them = []
        for _ in range(5):
            began = time.monotonic()
            result = fleet.cli("job", "start", "true", *agents)
            all_of_them.append(time.monotonic() - began)
            _require(result.returncode == 0, result.stdout + result.stderr)
        one = sequential_jobs(server, agents[0], times=50)["p50 ms"]
    finally:
        fleet.close()
    return {"whole command s": statistics.median(all_of_them), "one agent p50 ms": one}


@contextmanager
def _reading(server: Server, job: str, count: int) -> "Iterator[subprocess.Popen[str]]":
    """A process with so many readers of a job's feed, once all are connected."""
    key = parse_private_key((server.fleet.state / "admin.pem").read_bytes())
    path = f"/organizations/{server.fleet.organization}/pushy/job_status_feed/{job}"
    signed = http_signing.sign(private_key=key, user="admin", method="GET", path=path, body=b"", now=time.time())
    lines = [f"GET {path} HTTP/1.0", f"Host: {SERVER_NAME}", *(f"{name}: {value}" for name, value in signed.items())]
    request = "\r\n".join(lines) + "\r\n\r\n"
    command = [sys.executable, "-m", "benchmarks.readers"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        plan = {"address": ["127.0.0.1", server.api_port], "requests": [request] * count}
        process.stdin.write(json.dumps(plan) + "\n")
        process.stdin.flush()
        _require(process.stdout.readline() == "connected\n", "the readers could not connect")
        yield process


def _keep_jobs(server: Server, count: int) -> None:
    """Fill the store with jobs of one node that have ended, while the server is stopped."""
    assert server.fleet.server is not None
    server.fleet.server.stop()
    with closing(sqlite3.connect(server.fleet.state / "pushyd.sqlite")) as connection, connection:
        connection.execute(_MANY_JOBS, {"count": count, "now": time.time(), "digest": digest("true")})
        connection.execute(_MANY_JOB_NODES)
    server.start()


_MANY_JOBS = """
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
    INSERT INTO jobs (id, organization, status, created_at, updated_at, created_by, quorum, run_timeout, voting_timeout,
        node_count, capture, aborting, command_digest, command)
    SELECT printf('%032x', n), 'default', CASE WHEN n % 50 THEN 'complete' ELSE 'timed_out' END, :now - :count + n,
        :now - :count + n, 'admin', 1, 3600, 60, 1, 0, 0, :digest, 'true'
    FROM numbers
"""
_MANY_JOB_NODES = """
    INSERT INTO job_nodes (job, node, position, status, by_node)
    SELECT seq, printf('node-%05d', seq % 10000), 0, 'succeeded', true FROM jobs
"""


def _wait_for_end(feed: Iterator[tuple[str, Any]], job: str) -> str:
    for name, data in feed:
        if name == "job_complete" and data["job"] == job:
            return str(data["status"])
    raise RuntimeError("the feed has ended")


def _median_ms(call: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        began = time.monotonic()
        call()
        seconds.append(time.monotonic() - began)
    return statistics.median(seconds) * 1e3


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise RuntimeError(otherwise)
