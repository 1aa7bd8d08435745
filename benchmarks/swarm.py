"""Simulated nodes, thousands in one process, for any server of the Push Jobs protocol.

They are honest: each has an RSA key, a CURVE key and a connection of its own, fetches its configuration by a signed
request over a new connection, decrypts its session key, signs what it says and checks what it is told, sends
heartbeats, and goes through rehab, commit, run and results. What a node would compute beforehand (its keys, and the
signature of its first request) is ready before ``start``, for in a fleet it is done on other machines.

They are not many agents: no commands are run, nothing is kept on a disk, and the nodes of a process share one
subscription to the server's heartbeat (each would need two descriptors more).

It is told what to do on its standard input, a word a line: ``start`` (come online), ``report`` (print the counts as a
line of JSON), ``go`` (vote for jobs with the command ``wait``, which are held back). It ends at the end of that.
"""

import argparse
import gc
import json
import os
import select
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ssl import create_default_context
from urllib.parse import urlsplit

import zmq
from attrs import define, field

from benchmarks.identities import load_primes, node_name, private_key
from benchmarks.simulated import Node, Plan
from pushy_protocol import envelope
from pushy_protocol.api import AgentConfig
from pushy_protocol.keys import parse_public_key
from pushy_protocol.timestamps import format_rfc1123

_EVENTS_AT_ONCE = 1024
_TICK = 0.005
"""Seconds for which the loop waits at most, so that heartbeats are spread evenly."""


@define(kw_only=True)
class Swarm:
    """The nodes of this process, and the one loop that serves them."""

    plan: Plan
    nodes: list[Node]
    workers: ThreadPoolExecutor
    counts: Counter[str] = field(factory=Counter)
    _joined: deque[tuple[Node, AgentConfig]] = field(factory=deque)
    _online: list[Node] = field(factory=list)
    _readers: dict[int, Callable[[str], None]] = field(factory=dict)
    _poll: select.epoll = field(factory=select.epoll)
    _context: "zmq.Context[zmq.Socket[bytes]]" = field(factory=zmq.Context)
    _began: float = 0.0
    _beats: int = 0
    _interval: float = 1.0
    _heartbeats: "zmq.Socket[bytes] | None" = None

    def run(self) -> None:
        """Serve until standard input ends."""
        self._context.set(zmq.MAX_SOCKETS, len(self.nodes) + 8)
        os.set_blocking(sys.stdin.fileno(), False)
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)
        print(json.dumps({"ready": len(self.nodes)}), flush=True)
        while True:
            ready = self._poll.poll(_TICK, _EVENTS_AT_ONCE)
            timestamp = format_rfc1123(time.time())
            for descriptor, _ in ready:
                if descriptor == sys.stdin.fileno():
                    if not self._obey():
                        return
                else:
                    self._readers[descriptor](timestamp)
            while self._joined:
                self._join(*self._joined.popleft())
            self._beat(timestamp)

    def _obey(self) -> bool:
        lines = sys.stdin.read()
        for word in lines.split():
            if word == "start":
                for node in self.nodes:
                    self.workers.submit(self._fetch, node)
            elif word == "go":
                for node in self.nodes:
                    node.go(format_rfc1123(time.time()), self.counts)
            elif word == "report":
                available = sum(node.is_available for node in self.nodes)
                print(json.dumps({**self.counts, "online": len(self._online), "available": available}), flush=True)
        return bool(lines)

    def _fetch(self, node: Node) -> None:
        try:
            self._joined.append((node, node.fetch()))
        except Exception as error:
            self.counts["not configured"] += 1
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def _join(self, node: Node, config: AgentConfig) -> None:
        if self._heartbeats is None:
            self._subscribe(config)
        self._readers[descriptor := node.connect(self._context, config)] = lambda stamp: self._read(node, stamp)
        self._poll.register(descriptor, select.EPOLLIN | select.EPOLLET)
        self._online.append(node)

    def _read(self, node: Node, timestamp: str) -> None:
        node.read(timestamp, self.counts)
        if not node.is_available:
            # The connection stands now, or the next event tells; who has connected speaks at once.
            node.beat(timestamp, self.counts)

    def _subscribe(self, config: AgentConfig) -> None:
        server = config.push_jobs.heartbeat
        self._interval = self.plan.interval or server.interval
        self._began = time.monotonic()
        key = parse_public_key(config.public_key.encode())
        socket = self._heartbeats = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(server.out_addr)

        def read(_: str) -> None:
            try:
                while True:
                    header, body = socket.recv_multipart(zmq.NOBLOCK)
                    envelope.verify_rsa(header, body, key)
                    self.counts["server heartbeats"] += 1
            except zmq.Again:
                pass

        self._readers[descriptor := int(socket.getsockopt(zmq.FD))] = read
        self._poll.register(descriptor, select.EPOLLIN | select.EPOLLET)
        read("")

    def _beat(self, timestamp: str) -> None:
        """Send the heartbeats that are due: each node has its place in the interval."""
        if not self._online:
            return
        count = len(self.nodes)
        due = int((time.monotonic() - self._began) / self._interval * count)
        if due - self._beats > count:
            # A real node that had no processor would leave them out too.
            self.counts["late heartbeats"] += due - self._beats - count
            self._beats = due - count
        for number in range(self._beats, due):
            place = number % count
            if place < len(self._online):
                self._online[place].beat(timestamp, self.counts)
        self._beats = due


def arguments_of_swarm() -> argparse.ArgumentParser:
    """What a swarm is told when it is started."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="of the organization: https://HOST:PORT/organizations/ORG")
    parser.add_argument("--ca", help="a CA to trust, in PEM")
    parser.add_argument("--primes", type=Path, required=True, help="file of the primes of the nodes' keys")
    parser.add_argument("--first", type=int, default=0, help="the number of the first node")
    parser.add_argument("--count", type=int, default=100, help="how many nodes")
    parser.add_argument("--version", default="2.0", help="of the protocol that the nodes speak: 2.0 or 3.0")
    parser.add_argument("--interval", type=float, help="seconds between heartbeats (default: what the server says)")
    parser.add_argument("--output", type=int, default=2048, help="bytes that a command writes, where they are wanted")
    parser.add_argument("--requests", type=int, default=16, help="configurations that are fetched at a time")
    return parser


def plan_of(arguments: argparse.Namespace) -> Plan:
    """What its nodes have in common."""
    url = urlsplit(arguments.url)
    line = "What a command says, in lines of seventy-two characters; this is one.\n"
    return Plan(
        url=url,
        tls=create_default_context(cafile=arguments.ca) if url.scheme == "https" else None,
        version=arguments.version,
        interval=arguments.interval,
        output=json.dumps((line * (arguments.output // len(line) + 1))[: arguments.output]),
    )


def main() -> None:
    """Be a swarm."""
    arguments = arguments_of_swarm().parse_args()
    plan = plan_of(arguments)
    numbers = range(arguments.first, arguments.first + arguments.count)
    primes = load_primes(arguments.primes, numbers.stop)
    nodes = [Node(plan, node_name(number), private_key(primes, number)) for number in numbers]
    gc.freeze()
    with ThreadPoolExecutor(arguments.requests) as workers:
        Swarm(plan=plan, nodes=nodes, workers=workers).run()
        workers.shutdown(cancel_futures=True)
    os._exit(0)  # thousands of sockets need no farewell


if __name__ == "__main__":
    main()
