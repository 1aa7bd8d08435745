"""Simulated nodes that write output while their command runs: each a line now and again, or one of them very much.

``python -m benchmarks.talkers`` is :mod:`benchmarks.swarm` with three options more; the nodes speak 3.0. A line begins
with the monotonic time at which it was sent, so that who reads it on the same machine knows how long it took.
"""

import gc
import os
import time
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from attrs import define
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from benchmarks.identities import load_primes, node_name, private_key
from benchmarks.simulated import Node, Plan
from benchmarks.swarm import Swarm, arguments_of_swarm, plan_of
from pushy_protocol import messages

WINDOW_BYTES = 256 * 1024
_CHUNK = messages.CHUNK_BYTES


class Talker(Node):
    """One of them. It sends from where the server is when it is told so twice, as an agent does."""

    def __init__(self, plan: Plan, name: str, key: RSAPrivateKey) -> None:
        super().__init__(plan, name, key)
        self._end = 0
        self._sent = 0
        self._stored = 0

    def talk(self, timestamp: str, counts: Counter[str], *, lines: int, size: int) -> None:
        """Say the next line, or (without lines) as much as the window takes of `size` bytes; then the end."""
        if self._state != "running":
            return
        goal = lines * 72 if lines else size
        if self._stored == goal:
            total = f',"output":{{"stdout":{{"bytes":{goal}}},"stderr":{{"bytes":0}}}}'
            self._say("succeeded", timestamp, counts, total)
            self._job, self._state = "", "idle"
        elif lines and self._sent < goal:
            line = f"{time.monotonic():.6f} ".encode().ljust(71, b".") + b"\n"
            self._chunk(line, timestamp, counts)
        while not lines and self._sent < goal and self._sent - self._stored < WINDOW_BYTES:
            self._chunk(b"x" * min(_CHUNK, goal - self._sent), timestamp, counts)

    def _chunk(self, data: bytes, timestamp: str, counts: Counter[str]) -> None:
        more = f',"channel":"stdout","offset":{self._sent},"data":"{b64encode(data).decode()}"'
        self._say("output", timestamp, counts, more)
        self._sent += len(data)

    def _do(self, command: messages.ServerCommand, timestamp: str, counts: Counter[str]) -> None:
        match command:
            case messages.Run() if self._state == "committed":
                self._sent = self._stored = 0
                self._state = "running"
                self._say("ack_run", timestamp, counts)
            case messages.Ack(offsets=offsets) if offsets:
                counts["output acks"] += 1
                if offsets["stdout"] == self._stored:
                    self._sent = self._stored
                    counts["again"] += 1
                self._stored = offsets["stdout"]
            case _:
                super()._do(command, timestamp, counts)


@define(kw_only=True)
class TalkingSwarm(Swarm):
    """A swarm whose nodes talk."""

    talkers: list[Talker]
    lines: int
    pause: float
    size: int
    _turn: int = 0

    def _beat(self, timestamp: str) -> None:
        super()._beat(timestamp)
        if not self.lines:
            if self.talkers[0].is_available:
                self.talkers[0].talk(timestamp, self.counts, lines=0, size=self.size)
                self.talkers[0].read(timestamp, self.counts)
            return
        # Each has its place in the pause between two lines.
        count = len(self.talkers)
        due = int(time.monotonic() / self.pause * count)
        for number in range(max(self._turn, due - count), due):
            talker = self.talkers[number % count]
            talker.talk(timestamp, self.counts, lines=self.lines, size=0)
            if talker.is_available:
                talker.read(timestamp, self.counts)
        self._turn = due


def main() -> None:
    """Be such a swarm."""
    parser = arguments_of_swarm()
    parser.add_argument("--lines", type=int, default=0, help="how many lines of 72 bytes each node says")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two of its lines")
    parser.add_argument("--size", type=int, default=0, help="bytes that the first node says instead")
    arguments = parser.parse_args()
    arguments.version = "3.0"
    plan = plan_of(arguments)
    primes = load_primes(arguments.primes, arguments.count)
    nodes = [Talker(plan, node_name(number), private_key(primes, number)) for number in range(arguments.count)]
    gc.freeze()
    with ThreadPoolExecutor(arguments.requests) as workers:
        TalkingSwarm(
            plan=plan,
            nodes=list(nodes),
            talkers=nodes,
            workers=workers,
            lines=arguments.lines,
            pause=arguments.pause,
            size=arguments.size,
        ).run()
        workers.shutdown(cancel_futures=True)
    os._exit(0)  # as the plain one


if __name__ == "__main__":
    main()
