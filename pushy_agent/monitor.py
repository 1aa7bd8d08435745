"""What became of a socket's connection, from ZeroMQ's own events: the only place where a refused handshake shows.

The events are read when somebody asks, and at each heartbeat, so that they do not pile up.
"""

from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_STANDS = "connected, and the handshake succeeded"
_MAX_EVENTS = 1000  # in one reading


class Monitor:
    """Follows one socket that connects to one address."""

    def __init__(self, socket: Any, address: str) -> None:
        """Begin to follow; before the socket connects."""
        self._address = address
        self._socket = socket
        self._events: Any = socket.get_monitor_socket(_EVENTS)
        self._state = "TCP: no connection"

    def trouble(self) -> str:
        """Where the connection stands, in an operator's words; of one that stands, that it does."""
        self.read()
        return f"{self._address}: {self._state}"

    def stands(self) -> bool:
        """Whether the handshake has succeeded, and the connection lasts."""
        self.read()
        return self._state == _STANDS

    def read(self) -> None:
        """Take note of what has happened."""
        for _ in range(_MAX_EVENTS):
            try:
                event = parse_monitor_message(self._events.recv_multipart(zmq.NOBLOCK))
            except zmq.ZMQError:  # nothing there, or closed
                return
            self._note(event["event"], event["value"])

    def close(self) -> None:
        """Follow no more; before the socket is closed."""
        if not self._events.closed:
            self._socket.disable_monitor()
            self._events.close(linger=0)

    def _note(self, event: int, value: int) -> None:
        match event:
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._state = _STANDS
            case zmq.EVENT_CONNECTED:
                self._state = "CURVE: connected, but the handshake is not answered: the server's key may be another"
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self._state = (
                    f"CURVE: the handshake was refused, the server does not admit our key (ZAP status {value})"
                )
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                self._state = "CURVE: the handshake failed: what answers is no push server, or has another key"
            case zmq.EVENT_DISCONNECTED if self._state == _STANDS:
                self._state = "TCP: the connection was lost"
