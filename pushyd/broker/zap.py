"""ZeroMQ's authentication (ZAP, RFC 27): which CURVE keys may connect to the command channel."""

from collections.abc import Callable, Sequence

import zmq
from zmq.utils import z85

from pushy_protocol.zeromq import Connection, Context

ZAP_ADDRESS = "inproc://zeromq.zap.01"
DOMAIN = "pushy"

_VERSION = b"1.0"
_CURVE_KEY_BYTES = 32


class Authenticator:
    """Answers ZeroMQ's question about every connection. A peer's name (`User-Id`) is its key in Z85.

    Must be listening before the socket that it guards.
    """

    def __init__(self, context: Context, is_admitted: Callable[[str], bool]) -> None:
        """:param is_admitted: says of a public key (Z85) whether it may connect, now"""
        self._is_admitted = is_admitted
        # Not REP: a question without an answer would silence it for ever.
        self._connection = Connection(context, zmq.ROUTER, self._asked)

    def listen(self) -> None:
        """Begin to answer."""
        self._connection.bind(ZAP_ADDRESS)

    def _asked(self, frames: Sequence[bytes], _: str) -> None:
        # identity, delimiter, version, request id, domain, address, peer's identity, mechanism, credentials…
        if len(frames) < 8 or frames[2] != _VERSION:
            return
        identity, delimiter, version, request_id, domain, _address, _identity, mechanism = frames[:8]
        credentials = frames[8] if len(frames) == 9 else b""
        status, text, name = b"400", b"not admitted", b""
        if domain == DOMAIN.encode() and mechanism == b"CURVE" and len(credentials) == _CURVE_KEY_BYTES:
            key = z85.encode(credentials)
            if self._is_admitted(key.decode()):
                status, text, name = b"200", b"OK", key
        self._connection.send([identity, delimiter, version, request_id, status, text, name, b""])
