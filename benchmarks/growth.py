"""How the cost of a job grows with its nodes, in what can be counted: a check for CI, in less than a minute.

A job on a tenth of the nodes, then on all, each on a server of its own; what one costs is counted in messages, in SQL
statements and the steps that SQLite takes for them, and in bytes that are allocated. It fails where one of these grows
faster than the nodes. Seconds are printed, and nothing depends on them: machines are busy.

The server runs in this process, with real sockets, a real database and real (simulated) nodes.
"""

import argparse
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from twisted.internet import reactor
from twisted.internet.threads import blockingCallFromThread

from benchmarks import rows
from benchmarks.server import Api, Server, events
from benchmarks.swarms import running_swarms
from demo.processes import wait_until
from pushy_protocol.systemd import Systemd
from pushy_protocol.zeromq import Connection
from pushyd.app import PushServer
from pushyd.config import load
from pushyd.state_dir import lock, open_state_dir

MARGIN = 1.3
"""By how much a count may grow faster than the nodes: what is said once a job, and how many changes share a commit."""

_STEPS = 1000  # of SQLite between two looks
# Heartbeats are not counted, and would take most of the time; and a machine that does much else delays them.
_PATIENT = {"heartbeat_interval": 10_000, "detect_offline_nodes_interval": 3600, "voting_timeout": 600}
_HEARTBEAT = b'{"type":"heartbeat"'


class Counts:
    """What the server of this process does, since :meth:`begin`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._count_messages()
        event.listen(Engine, "before_cursor_execute", self._count_statement)
        event.listen(Engine, "connect", self._count_steps)

    def begin(self) -> None:
        """Count from 0."""
        self.counts.clear()
        tracemalloc.start()  # only now, for it makes everything slower

    def end(self) -> dict[str, int]:
        """The counts; bytes are the most that were allocated at a time."""
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return {**self.counts, "bytes": peak}

    def _count_messages(self) -> None:
        send, received = Connection.send, Connection.messageReceived

        def count_send(connection: Connection, message: Sequence[bytes]) -> bool:
            if len(message) == 3:  # to a node; what is published has two frames
                self.counts["messages"] += 1
            return send(connection, message)

        def count_received(connection: Connection, message: list[bytes], peer: str = "") -> None:
            if len(message) == 3 and not message[2].startswith(_HEARTBEAT):
                self.counts["messages"] += 1
            received(connection, message, peer)

        # To count is all that is changed; mypy takes no function for a method.
        Connection.send = count_send  # type: ignore[method-assign,assignment]  # to count
        Connection.messageReceived = count_received  # type: ignore[method-assign,assignment]  # to count

    def _count_statement(self, *_: Any) -> None:
        self.counts["statements"] += 1

    def _count_steps(self, connection: Any, _: object) -> None:
        def count() -> int:
            self.counts["SQLite steps"] += _STEPS
            return 0  # go on

        connection.set_progress_handler(count, _STEPS)


class LocalServer(Server):
    """A server in this process, whose reactor runs in another thread."""

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        settings = load(self.fleet.server_config, {})
        held = lock(Path(settings.state_dir))
        state = open_state_dir(Path(settings.state_dir), settings.server_name)

        def begin() -> None:
            self.service = PushServer(
                reactor=reactor,
                settings=settings,
                state=state,
                lock=held,
                now=time.time,
                failed=lambda: None,
                systemd=Systemd(),
            )
            self.service.startService()

        blockingCallFromThread(reactor, begin)
        wait_until(self._answers, "the server")

    def stop(self) -> None:
        """Stop it, once all is written."""
        stop: Callable[[], Any] = self.service.stopService
        blockingCallFromThread(reactor, stop)

    def _answers(self) -> bool | None:
        try:
            with Api(self) as api:
                api.get("pushy/node_states")
        except OSError:
            return None
        return True


@contextmanager
def running_reactor() -> Iterator[None]:
    """Twisted's reactor, in a thread."""
    running: Any = reactor
    thread = threading.Thread(target=lambda: running.run(installSignalHandlers=False), daemon=True)
    thread.start()
    try:
        yield
    finally:
        running.callFromThread(running.stop)
        thread.join()


def measure(counts: Counts, primes: Path, nodes: int) -> dict[str, int]:
    """What the second job on so many nodes costs; the first one fills what is filled once."""
    with tempfile.TemporaryDirectory(prefix="pushy-growth-") as directory:
        server = LocalServer(Path(directory), tls=False, **_PATIENT)
        server.start()
        server.stop()
        server.enrol(primes, nodes)
        server.start()
        try:
            with running_swarms(server, primes, nodes) as swarms, Api(server) as reader, Api(server) as caller:
                rows.come_online(server, swarms)
                feed = events(reader.open("GET", "pushy/job_status_feed"))
                for _ in range(2):
                    counts.begin()
                    began = time.monotonic()
                    job = caller.start_job(rows.names(nodes), capture=True)
                    status = next(data["status"] for name, data in feed if (name, data["job"]) == ("job_complete", job))
                    if status != "complete":
                        raise RuntimeError(
                            f"a job on {nodes} nodes is {status}: {_how(caller, job)}, {swarms.report()}"
                        )
                    caller.get("pushy/jobs?limit=1")  # waits until all is written
                    seconds = time.monotonic() - began
                    found = counts.end()
        finally:
            server.stop()
    told = ", ".join(f"{count:,} {what}" for what, count in sorted(found.items()))
    print(f"{nodes:>6,} nodes: {told} ({seconds:.2f} s)", flush=True)
    return found


def _how(caller: Api, job: str) -> dict[str, int]:
    """How many nodes have each status."""
    return {status: len(names) for status, names in caller.get(f"pushy/jobs/{job}")["nodes"].items()}


def main() -> int:
    """Measure and compare; 1 where something grows faster than the nodes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    nodes = parser.parse_args().nodes
    counts = Counts()
    with tempfile.TemporaryDirectory(prefix="pushy-growth-") as directory, running_reactor():
        primes = Path(directory) / "primes.json"
        few, many = (measure(counts, primes, size) for size in (nodes // 10, nodes))
    too_much = False
    for what in few:
        growth = many[what] / few[what] / 10
        too_much |= growth > MARGIN
        print(f"{what:>14}: {growth:.2f} times as much for each node as at a tenth of them")
    if too_much:
        print(f"What is over {MARGIN} grows faster than the nodes.")
    return int(too_much)


if __name__ == "__main__":
    sys.exit(main())
