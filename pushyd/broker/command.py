"""The command channel: a ROUTER with CURVE, where nodes and server exchange signed messages.

A frame is believed in this order: number and size of frames, the key that ZAP admitted, the signature under that
node's session key, the shape, the clock, and that it speaks for the node that it came from. What fails is dropped, and
logged once per peer and minute: a bad message costs nobody but its sender anything.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import zmq
from twisted.logger import Logger

from pushy_protocol import envelope, messages
from pushy_protocol.keys import CurveKeyPair
from pushy_protocol.timestamps import format_rfc1123, parse_rfc1123
from pushy_protocol.zeromq import Connection, Context
from pushyd.broker.zap import DOMAIN
from pushyd.sessions import Session, Sessions

_BACKLOG = 4096  # connections that wait while a fleet reconnects at once
_UNACKNOWLEDGED = 60_000  # milliseconds
_LOG_SECONDS = 60.0
_UNREAD = 32
"""Messages of one peer that wait to be read. A peer that sends more has to wait, so a fleet that says more than is
read of it cannot fill the memory: 10,000 nodes with a heartbeat too many each second did, by gigabytes."""
_LOGGED_PEERS = 10_000  # above it the log starts anew, so that hostile peers cannot fill the memory
_LOGGED_CHARACTERS = 200  # of a reason, for it may quote what came in

OnMessage = Callable[[Session, bytes, messages.NodeMessage], None]
"""Called with the node's session, the identity of the socket that it speaks from, and its message."""


class Refused(Exception):
    """A message that is dropped; the text says why."""


class CommandChannel:
    """The server's end. Implements `nodes.Channel`."""

    log = Logger()

    def __init__(
        self,
        *,
        context: Context,
        keys: CurveKeyPair,
        sessions: Sessions,
        on_message: OnMessage,
        now: Callable[[], float],
        server_name: str,
        max_body_size: int,
        max_time_skew: float,
    ) -> None:
        """:param now: seconds since the epoch"""
        self._sessions = sessions
        self._on_message = on_message
        self._now = now
        self._server_name = server_name
        self._max_body_size = max_body_size
        self._max_time_skew = max_time_skew
        self._sequence = 0
        self._logged: dict[str, float] = {}
        self._connection = Connection(context, zmq.ROUTER, self._received, rests=True)
        self._connection.serve_curve(keys, DOMAIN)
        self._connection.socket.set(zmq.BACKLOG, _BACKLOG)
        self._connection.socket.set(zmq.RCVHWM, _UNREAD)
        # Twice the limit: what is a little too large is refused with a word in the log, and only a flood cut off.
        self._connection.socket.set(zmq.MAXMSGSIZE, 2 * max_body_size + envelope.MAX_HEADER_BYTES)
        # A connection whose peer's kernel acknowledges nothing any more is closed, and not in a quarter of an hour.
        self._connection.socket.set(zmq.TCP_MAXRT, _UNACKNOWLEDGED)

    def listen(self, address: str) -> str:
        """Bind, and return the address.

        :raise zmq.ZMQError: it cannot be bound.
        """
        return self._connection.bind(address)

    def encode(self, kind: type[messages.ServerCommand], fields: Mapping[str, Any]) -> bytes:
        """The body of a message, for any number of nodes."""
        self._sequence += 1
        stamp: dict[str, Any] = {"timestamp": format_rfc1123(self._now()), "sequence": self._sequence}
        if kind is messages.Commit:
            stamp["server"] = self._server_name
        return messages.encode(kind(**stamp, **fields))

    def send(self, route: bytes, signer: envelope.SessionSigner, body: bytes) -> bool:
        """Send a body to the node behind a socket's identity; False where it could not be queued."""
        return self._connection.send([route, signer.sign(body), body])

    def behind(self) -> float:
        """For how many seconds it has not got round all nodes that have something to say; 0 where it does."""
        return self._connection.behind()

    def _received(self, frames: Sequence[bytes], peer: str) -> None:
        try:
            session, message = self._believe(frames, peer)
        except (Refused, envelope.EnvelopeError, messages.MessageError) as error:
            self._log_refusal(peer, str(error))
        else:
            self._on_message(session, frames[0], message)

    def _believe(self, frames: Sequence[bytes], peer: str) -> tuple[Session, messages.NodeMessage]:
        try:
            _, header, body = frames
        except ValueError:
            raise Refused(f"{len(frames) - 1} frames, expected 2") from None
        if len(body) > self._max_body_size:
            raise Refused(f"a body of {len(body)} bytes, at most {self._max_body_size} are allowed")
        session = self._sessions.by_peer(peer)
        if session is None:
            raise Refused("its key is not admitted (any more)")
        session.signer.verify(header, body)
        message = messages.decode_from_node(body)
        skew = parse_rfc1123(message.timestamp) - self._now()
        if abs(skew) > self._max_time_skew:
            raise Refused(f"its clock is off by {skew:.0f} s, at most {self._max_time_skew:.0f} are allowed")
        if (message.org, message.node) != session.node:
            raise Refused(f"it speaks for {message.org}/{message.node}")
        return session, message

    def _log_refusal(self, peer: str, reason: str) -> None:
        now = self._now()
        last = self._logged.get(peer)
        if last is not None and abs(now - last) < _LOG_SECONDS:  # a clock may be set back
            return
        if len(self._logged) >= _LOGGED_PEERS:
            self._logged.clear()
        self._logged[peer] = now
        session = self._sessions.by_peer(peer)
        who = "/".join(session.node) if session else f"the key {peer}" if peer else "an unknown peer"
        # As a literal: what came in must not write lines or colours of its own into the log.
        self.log.warn("A message of {who} was dropped: {reason!r}", who=who, reason=reason[:_LOGGED_CHARACTERS])
