"""A bench for ZeroMQ connections: real sockets, and a reactor that takes a turn when it is told to.

The sockets are on inproc, where a message is there as soon as it was sent; so a lost readiness edge shows at once, and
nothing has to be waited for.
"""

import select
from collections.abc import Callable
from typing import Any

import zmq
from twisted.internet.task import Clock

from pushy_protocol.zeromq import Context

Frames = list[bytes]


class StepReactor(Clock):
    """A reactor that does what is due when it is told to, and treats a reader that raises as Twisted's do."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def turn(self) -> None:
        """One turn: the readers whose descriptors are ready, then the calls that are due."""
        for reader in [reader for reader in self.readers if is_readable(reader)]:
            try:
                reader.doRead()
            except Exception:
                self.removeReader(reader)
        self.advance(0)


def is_readable(reader: Any) -> bool:
    return bool(select.select([reader.fileno()], [], [], 0)[0])


class Bench:
    """Connections on a reactor that is stepped, and raw sockets to talk to them."""

    def __init__(self) -> None:
        self.reactor = StepReactor()
        self.context = Context(self.reactor)
        self.raw: list[zmq.Socket[bytes]] = []

    def peer(self, receive_high_water_mark: int = 0) -> "zmq.Socket[bytes]":
        """A raw socket, bound; 0 is no mark."""
        socket: zmq.Socket[bytes] = self.context.context.socket(zmq.DEALER)
        socket.set(zmq.RCVHWM, receive_high_water_mark)
        socket.bind("inproc://peer")
        self.raw.append(socket)
        return socket

    def dealer(self, address: str) -> "zmq.Socket[bytes]":
        """A raw socket that is connected."""
        socket: zmq.Socket[bytes] = self.context.context.socket(zmq.DEALER)
        socket.connect(address)
        self.raw.append(socket)
        return socket

    def connected(self, kind: Any, on_message: Callable[[Frames, str], None]) -> Any:
        """A connection of either class to the raw socket, which has seen that nothing came in yet."""
        connection = kind(self.context, zmq.DEALER, on_message)
        connection.connect("inproc://peer")
        connection.doRead()
        return connection

    def close(self) -> None:
        for socket in self.raw:
            socket.close(linger=0)
        self.context.shutdown()
