"""What the agent says, made into messages for the session of the moment.

The end of a job must not be lost: it is kept in the spool, and said over each new connection, and every
:data:`RESEND` seconds, until the server has acknowledged it. One that acknowledges nothing (2.x) hears it when a
connection takes it, and hears nothing of an earlier run of the agent. Everything else is said now or not at all, since
the server asks again. Reasons are told only to a server that understands them, and an output is cut to what its
messages may hold.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.logger import Logger

from pushy_agent.background import background
from pushy_agent.bootstrap import Session
from pushy_agent.clock import Clock, sleep
from pushy_agent.job import Kind, Say, State
from pushy_agent.output import fit
from pushy_agent.spool import Spool
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

RESEND = 10.0
"""Seconds until a result that was not acknowledged is said again."""

_DRAIN_EVERY = 0.05

Send = Callable[[bytes], bool]
"""Queues a body; False where it could not."""


class Sender:
    """Speaks for a node. Before the first session, and between two, nothing is sent."""

    log = Logger()

    def __init__(self, *, host: str, incarnation_id: str, now: Callable[[], float], clock: Clock, spool: Spool) -> None:
        """:param host: the machine's name
        :param incarnation_id: of this process
        :param now: gives the seconds since the epoch
        """
        self._host = host
        self._incarnation_id = incarnation_id
        self._now = now
        self._clock = clock
        self._spool = spool
        # When each result was sent over this connection.
        self._sent: dict[str, float] = {}
        self._sequence = 0
        self._session: Session | None = None
        self._send: Send | None = None

    def attach(self, session: Session, send: Send) -> None:
        """Speak over a new connection."""
        self._session, self._send = session, send
        self._sequence = 0
        self._sent.clear()

    def detach(self) -> None:
        """Speak no more, until the next connection."""
        self._session = self._send = None

    def say(self, say: Say) -> None:
        """Tell the server; the end of a job as soon as it is kept, and later, if not now."""
        # What has been told of a job that is over stays; a server that asks for more of it is answered, no more.
        if say.is_result and not self._spool.is_over(say.job_id or ""):
            background(self._keep(say), self.log, "A result was not kept")
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
        """Say the results that wait, oldest first, as far as the connection takes them."""
        now = self._clock.seconds()
        for say in self._spool.waiting:
            job_id = say.job_id or ""
            if not self._is_acknowledged and job_id in self._spool.restored:
                self.acknowledged(job_id)
                continue
            if now - self._sent.get(job_id, now - RESEND) < RESEND:
                continue
            if not self._transmit(partial(self._body, say)):
                break
            if self._is_acknowledged:
                self._sent[job_id] = now
            else:
                self.acknowledged(job_id)

    def acknowledged(self, job_id: str) -> None:
        """The server has the result of a job."""
        self._sent.pop(job_id, None)
        background(self._spool.drop(job_id), self.log, "A result was not dropped")

    def say_again(self, job_id: str) -> bool:
        """Say the result of a job as soon as it can be; False where none waits."""
        waits = self._spool.has_result(job_id)
        self._sent.pop(job_id, None)
        self.flush()
        return waits

    async def drain(self, seconds: float) -> None:
        """Wait until nothing waits, but no longer than so many seconds, and only where there is a server."""
        end = self._clock.seconds() + seconds
        while not self._spool.is_empty and self._send is not None and self._clock.seconds() < end:
            await sleep(self._clock, _DRAIN_EVERY)

    async def _keep(self, say: Say) -> None:
        await self._spool.keep(say)
        self.flush()

    @property
    def _is_acknowledged(self) -> bool:
        return self._session is not None and "results" in (self._session.extensions or ())

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
