"""What is said to the server, made into messages of the session of the moment.

Before the first session, and between two, nothing is sent. What there is to say, and when, is not known here.
"""

from collections.abc import Callable
from typing import Any

from pushy_agent.bootstrap import Session
from pushy_protocol.messages import (
    PROTOCOL_VERSION,
    PROTOCOL_VERSION_3,
    NodeMessage,
    encode,
)
from pushy_protocol.timestamps import format_rfc1123

Send = Callable[[bytes], bool]
"""Queues a body; False where it could not."""

Make = Callable[..., NodeMessage]
"""Makes a message, given what every message has."""


class Speaker:
    """Speaks for a node."""

    def __init__(self, *, host: str, incarnation_id: str, now: Callable[[], float]) -> None:
        """:param host: the machine's name
        :param incarnation_id: of this process
        :param now: gives the seconds since the epoch
        """
        self._host = host
        self._incarnation_id = incarnation_id
        self._now = now
        self._sequence = 0
        self._session: Session | None = None
        self._send: Send | None = None

    def attach(self, session: Session, send: Send) -> None:
        """Speak over a new connection."""
        self._session, self._send = session, send
        self._sequence = 0

    def detach(self) -> None:
        """Speak no more, until the next connection."""
        self._session = self._send = None

    @property
    def is_attached(self) -> bool:
        """Whether there is a session."""
        return self._session is not None

    @property
    def max_body_size(self) -> int:
        """The bytes of the largest body that may be sent now."""
        return self._session.max_body_size if self._session else 0

    def offers(self, extension: str) -> bool:
        """Whether the server has something beyond 2.x."""
        return self._session is not None and extension in (self._session.extensions or ())

    def say(self, make: Make) -> bool:
        """Send a message; False where it could not be."""
        return self.transmit(lambda common: encode(make(**common)))

    def transmit(self, body: Callable[[dict[str, Any]], bytes]) -> bool:
        """Send the body that is made of what every message has; False where it could not be."""
        if self._session is None or self._send is None or not self._send(body(self._common(self._session))):
            return False
        self._sequence += 1
        return True

    def size(self, make: Make) -> int:
        """How many bytes a message has."""
        return len(encode(make(**self._common(self._session)))) if self._session else 0

    def _common(self, session: Session) -> dict[str, Any]:
        return {
            "node": session.node,
            "client": self._host,
            "org": session.organization,
            "protocol_version": PROTOCOL_VERSION if session.extensions is None else PROTOCOL_VERSION_3,
            "incarnation_id": self._incarnation_id,
            "sequence": self._sequence,
            "timestamp": format_rfc1123(self._now()),
        }
