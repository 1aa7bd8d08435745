"""What the agent says, made into messages for the session of the moment.

The end of a job must not be lost: it is kept until a connection took it. Everything else is said now or not at all,
since the server asks again. Reasons are told only to a server that understands them, and an output is cut to what
its messages may hold.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from pushy_agent.bootstrap import Session
from pushy_agent.job import Kind, Say, State
from pushy_agent.output import fit
from pushy_protocol.messages import (
    PROTOCOL_VERSION,
    PROTOCOL_VERSION_3,
    Aborted,
    AckCommit,
    AckRun,
    Failed,
    NackCommit,
    NackRun,
    NodeHeartbeat,
    NodeMessage,
    Succeeded,
    encode,
)
from pushy_protocol.timestamps import format_rfc1123

_MESSAGES: dict[Kind, Callable[..., NodeMessage]] = {
    Kind.ACK_COMMIT: AckCommit,
    Kind.NACK_COMMIT: NackCommit,
    Kind.ACK_RUN: AckRun,
    Kind.NACK_RUN: NackRun,
    Kind.SUCCEEDED: Succeeded,
    Kind.FAILED: Failed,
    Kind.ABORTED: Aborted,
}

Send = Callable[[bytes], bool]
"""Queues a body; False where it could not."""


class Sender:
    """Speaks for a node. Before the first session, and between two, nothing is sent."""

    def __init__(self, *, host: str, incarnation_id: str, now: Callable[[], float]) -> None:
        """:param host: the machine's name
        :param incarnation_id: of this process
        :param now: gives the seconds since the epoch
        """
        self._host = host
        self._incarnation_id = incarnation_id
        self._now = now
        # Unbounded, but no commit is made while nothing can be said, so there is hardly ever more than one.
        self._kept: deque[Say] = deque()
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

    def say(self, say: Say) -> None:
        """Tell the server; the end of a job later, if not now."""
        if say.is_result:
            self._kept.append(say)
            self.flush()
        else:
            self._transmit(partial(self._body, say))

    def beat(self, state: State) -> None:
        """Tell the server that we are here, and what we do."""
        self._transmit(
            lambda session: encode(
                NodeHeartbeat(**self._common(session), job_id=state.job_id, job_state=state.job_state),
            )
        )

    def flush(self) -> None:
        """Send what was kept, oldest first, as far as the connection takes it."""
        while self._kept and self._transmit(partial(self._body, self._kept[0])):
            self._kept.popleft()

    def _transmit(self, body: Callable[[Session], bytes]) -> bool:
        if self._session is None or self._send is None or not self._send(body(self._session)):
            return False
        self._sequence += 1
        return True

    def _body(self, say: Say, session: Session) -> bytes:
        fields: dict[str, Any] = {**self._common(session), "job_id": say.job_id}
        if "reasons" in (session.extensions or ()):
            fields |= _reasons(say)
        make = partial(_MESSAGES[say.kind], **fields)
        how = say.exit
        if how is None or how.stdout is None or how.stderr is None:
            return encode(make())
        return fit(
            lambda stdout, stderr: encode(make(stdout=stdout, stderr=stderr)),
            how.stdout,
            how.stderr,
            session.max_body_size,
        )

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


def _reasons(say: Say) -> dict[str, Any]:
    reasons: dict[str, Any] = {"reason": say.reason} if say.reason else {}
    if say.kind is Kind.FAILED and say.exit is not None:
        reasons |= {"exit_status": say.exit.status, "signal": say.exit.signal}
    return reasons
