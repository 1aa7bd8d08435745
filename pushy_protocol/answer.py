"""An answer of the server to an HTTP request, whichever client it came by, and that there is none."""

from collections.abc import Mapping

from attrs import field, frozen

from pushy_protocol.api import ErrorBody, InvalidRequest, decode

REQUEST_TIMEOUT = 30.0
"""Seconds for a whole request (name, connection, TLS, answer), unless a client is told else."""

MAX_RESPONSE = 256 * 1024
"""Bytes of an answer's body, unless a client is told else; a node's configuration has some 1,500."""


class Unreachable(Exception):
    """There is no answer; the text says why."""


@frozen(kw_only=True)
class Answer:
    """An answer of the server; header names are in lower case."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(factory=dict, eq=False, repr=False)

    def error(self) -> str:
        """Its status and what the server says of it, in one line."""
        try:
            said = decode(self.body, ErrorBody).error
        except InvalidRequest:
            said = self.body[:200].decode(errors="replace")
        text = said if isinstance(said, str) else "; ".join(said)
        return f"HTTP {self.status}: {' '.join(text.split())[:500] or 'no text'}"
