"""Nodes as the broker meets them: real sockets on loopback, with keys and signatures of their own."""

from collections.abc import Sequence
from typing import Any

import zmq
from attrs import field, frozen
from twisted.internet.defer import DeferredQueue
from twisted.internet.task import Clock

from pushy_protocol import messages
from pushy_protocol.envelope import SessionSigner
from pushy_protocol.keys import CurveKeyPair
from pushy_protocol.timestamps import format_rfc1123
from pushy_protocol.zeromq import Connection, Context
from pushyd.domain.node import NodeRef
from pushyd.sessions import Session
from tests.pushyd.doubles import NOW, said

WEB1, WEB2 = NodeRef("acme", "web1"), NodeRef("acme", "web2")
OTHER_WEB1 = NodeRef("other", "web1")

Frames = list[bytes]


class IdleReactor(Clock):
    """A reactor for sockets that nothing comes from."""

    def addReader(self, reader: Any) -> None:
        """Never look at it."""

    def removeReader(self, reader: Any) -> None:
        """It was never looked at."""


def body_of(node: NodeRef, *, now: float = NOW, **fields: Any) -> bytes:
    """The body of a heartbeat."""
    return messages.encode(said(messages.NodeHeartbeat, node, timestamp=format_rfc1123(now), **fields))


def signed(session: Session, body: bytes) -> Frames:
    """Header and body, as a node sends them."""
    return [SessionSigner(session.session_key).sign(body), body]


@frozen
class Peer:
    """A DEALER that is connected to the command channel, or tries to be."""

    node: NodeRef
    keys: CurveKeyPair
    connection: Connection
    received: "DeferredQueue[Frames]" = field(repr=False)

    @classmethod
    def connected(cls, context: Context, address: str, server_key: str, node: NodeRef, keys: CurveKeyPair) -> "Peer":
        """One that begins to connect."""
        received: DeferredQueue[Frames] = DeferredQueue()
        connection = Connection(context, zmq.DEALER, lambda frames, _: received.put(frames))
        connection.socket.set(zmq.LINGER, 0)  # who was refused need not be waited for at the end
        connection.use_curve(keys, server_key)
        connection.connect(address)
        return cls(node, keys, connection, received)

    def send(self, frames: Sequence[bytes]) -> None:
        """Send any frames."""
        assert self.connection.send(frames)

    def say(self, session: Session, *, now: float = NOW, **fields: Any) -> None:
        """Send a heartbeat as it should be."""
        self.send(signed(session, body_of(self.node, now=now, **fields)))
