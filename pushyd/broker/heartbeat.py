"""The heartbeat channel: the server says in clear, signed with its RSA key, that it is here."""

from collections.abc import Callable

import zmq
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pushy_protocol import envelope, messages
from pushy_protocol.timestamps import format_rfc1123
from pushy_protocol.zeromq import Connection, Context
from pushyd.clock import Clock, Periodic

_BACKLOG = 4096  # connections that wait while a fleet reconnects at once


class HeartbeatPublisher:
    """A PUB socket that says so every interval."""

    def __init__(
        self,
        *,
        context: Context,
        key: RSAPrivateKey,
        clock: Clock,
        now: Callable[[], float],
        interval: float,
        server_name: str,
        incarnation_id: str,
    ) -> None:
        """:param now: seconds since the epoch; `interval` is in seconds"""
        self._key = key
        self._now = now
        self._server_name = server_name
        self._incarnation_id = incarnation_id
        self._sequence = 0
        self._connection = Connection(context, zmq.PUB)
        self._connection.socket.set(zmq.BACKLOG, _BACKLOG)
        self._loop = Periodic(self.publish, interval, clock)

    def listen(self, address: str) -> str:
        """Bind and begin; returns the address.

        :raise zmq.ZMQError: it cannot be bound.
        """
        bound = self._connection.bind(address)
        self._loop.start()
        return bound

    def stop(self) -> None:
        """Say nothing more."""
        self._loop.stop()

    def publish(self) -> None:
        """Send one heartbeat."""
        self._sequence += 1
        body = messages.encode(
            messages.ServerHeartbeat(
                timestamp=format_rfc1123(self._now()),
                sequence=self._sequence,
                server=self._server_name,
                incarnation_id=self._incarnation_id,
            )
        )
        self._connection.send([envelope.sign_rsa(self._key, body), body])
