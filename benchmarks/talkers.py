"""Simulated nodes that write output while their command runs: each a line now and again, or one of them very much.

``python -m benchmarks.talkers`` is :mod:`benchmarks.swarm` with three options more; the nodes speak 3.0. A line begins
with the monotonic time at which it was written, so that who reads it on the same machine knows how long it took. What
is sent when is for the agent's own :class:`~pushy_agent.stream.Flow`; there is no command, no pipe and no disk.
"""

import gc
import os
import time
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from heapq import heappop, heappush

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from benchmarks.identities import load_primes, node_name, private_key
from benchmarks.simulated import Node, Plan
from benchmarks.swarm import Swarm, arguments_of_swarm, plan_of
from pushy_agent.stream import LIVE_PACE, PACE, Flow
from pushy_protocol import messages

_LINE_BYTES = 72


class Talker(Node):
    """One of them."""

    def __init__(self, plan: Plan, name: str, key: RSAPrivateKey, *, lines: int, size: int) -> None:
        """:param lines: that its command writes; or, without any, of how many bytes"""
        super().__init__(plan, name, key)
        self._lines = lines
        self._size = size
        self._flow = Flow(pace=PACE)
        self._text = bytearray()  # what was written, without what is stored
        self._begin = 0
        self._left = 0
        self._live = False

    def talk(self, now: float) -> None:
        """Write the next line, or all there is."""
        if self._state == "running" and self._left:
            if not self._lines:
                self._left, size = 0, self._size
            else:
                self._left -= 1
                self._text += f"{now:.6f} ".encode().ljust(_LINE_BYTES - 1, b".") + b"\n"
                size = self._begin + len(self._text)
            self._flow.extend({"stdout": size})
            if not self._left:
                self._flow.finish()

    def send(self, timestamp: str, counts: Counter[str]) -> float | None:
        """Send what may be sent, and the end when all is stored; seconds until there may be more to send."""
        if self._state != "running":
            return None
        now = time.monotonic()
        while piece := self._flow.take(now):
            start = piece.offset - self._begin
            data = self._text[start : start + piece.size] if self._lines else b"x" * piece.size
            more = f',"channel":"stdout","offset":{piece.offset},"data":"{b64encode(data).decode()}"'
            unsent = counts["unsent"]
            self._say("output", timestamp, counts, more)
            if counts["unsent"] > unsent:
                self._flow.restart(now)
                return None
        if self._flow.is_complete:
            total = _LINE_BYTES * self._lines or self._size
            output = f',"output":{{"stdout":{{"bytes":{total}}},"stderr":{{"bytes":0}}}}'
            self._say("succeeded", timestamp, counts, output)
            self._job, self._state = "", "idle"
        return self._flow.due(now)

    def beat(self, timestamp: str, counts: Counter[str]) -> None:
        """As every node, and see whether what was sent has been away for too long."""
        super().beat(timestamp, counts)
        self._flow.check(time.monotonic())

    def _do(self, command: messages.ServerCommand, timestamp: str, counts: Counter[str]) -> None:
        match command:
            case messages.Run() if self._state == "committed":
                self._flow = Flow(pace=LIVE_PACE if self._live else PACE)
                self._text.clear()
                self._begin, self._left = 0, self._lines or 1
                self._state = "running"
                self._say("ack_run", timestamp, counts)
            case messages.Ack(offsets=offsets) if offsets:
                counts["output acks"] += 1
                turn = self._flow.turn
                self._flow.stored(offsets, time.monotonic())
                counts["again"] += self._flow.turn != turn
                if self._lines and offsets["stdout"] > self._begin:
                    del self._text[: offsets["stdout"] - self._begin]
                    self._begin = offsets["stdout"]
                self.send(timestamp, counts)
            case messages.Commit(live=live):
                self._live = live
                super()._do(command, timestamp, counts)
            case _:
                super()._do(command, timestamp, counts)


@define(kw_only=True)
class TalkingSwarm(Swarm):
    """A swarm whose nodes talk."""

    talkers: list[Talker]
    pause: float
    _turn: int = 0
    _due: list[tuple[float, int]] = field(factory=list)  # when which of them may have more to send

    def _beat(self, timestamp: str) -> None:
        super()._beat(timestamp)
        # Each has its place in the pause between two lines.
        count = len(self.talkers)
        now = time.monotonic()
        due = int(now / self.pause * count)
        for number in range(max(self._turn, due - count), due):
            self.talkers[number % count].talk(now)
            self._send(number % count, timestamp)
        self._turn = due
        while self._due and self._due[0][0] <= now:
            self._send(heappop(self._due)[1], timestamp)

    def _send(self, number: int, timestamp: str) -> None:
        talker = self.talkers[number]
        if (wait := talker.send(timestamp, self.counts)) is not None:
            heappush(self._due, (time.monotonic() + wait, number))
        if talker.is_available:
            talker.read(timestamp, self.counts)


def main() -> None:
    """Be such a swarm."""
    parser = arguments_of_swarm()
    parser.add_argument("--lines", type=int, default=0, help=f"how many lines of {_LINE_BYTES} bytes each node writes")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two of its lines")
    parser.add_argument("--size", type=int, default=0, help="bytes that a node writes instead")
    arguments = parser.parse_args()
    arguments.version = "3.0"
    plan = plan_of(arguments)
    numbers = range(arguments.first, arguments.first + arguments.count)
    primes = load_primes(arguments.primes, numbers.stop)
    nodes = [
        Talker(plan, node_name(number), private_key(primes, number), lines=arguments.lines, size=arguments.size)
        for number in numbers
    ]
    gc.freeze()
    with ThreadPoolExecutor(arguments.requests) as workers:
        TalkingSwarm(plan=plan, nodes=list(nodes), talkers=nodes, workers=workers, pause=arguments.pause).run()
        workers.shutdown(cancel_futures=True)
    os._exit(0)  # as the plain one


if __name__ == "__main__":
    main()
