"""When the agent says what, and what of it must not be lost.

The end of a job is kept in the spool, and said over each new connection, and every :data:`RESEND` seconds, until the
server has acknowledged it. One that acknowledges nothing (2.x) hears it when a connection takes it, and hears nothing
of an earlier run of the agent. Where outputs travel by themselves (:mod:`streams`) the end comes after them, as long
as they make progress; else an output is cut to what a message may hold. Everything else is said now or not at all,
since the server asks again. Reasons are told only to a server that understands them.
"""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any

from attrs import evolve
from twisted.logger import Logger

from pushy_agent.background import background
from pushy_agent.bootstrap import Session
from pushy_agent.clock import Clock, sleep
from pushy_agent.job import Exit, Idle, Kind, Say, State
from pushy_agent.output import Captured, fit
from pushy_agent.speaker import Make, Send, Speaker
from pushy_agent.spool import Spool
from pushy_agent.streams import Streams
from pushy_protocol.messages import (
    Aborted,
    AckCommit,
    AckRun,
    Channel,
    Failed,
    NackCommit,
    NackRun,
    NodeHeartbeat,
    Succeeded,
    encode,
)
from pushy_protocol.states import AgentState

_MESSAGES: dict[Kind, Make] = {
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


class Sender:
    """Says what the worker has to say."""

    log = Logger()

    def __init__(self, *, clock: Clock, speaker: Speaker, spool: Spool, streams: Streams) -> None:
        self._clock = clock
        self._speaker = speaker
        self._spool = spool
        self._streams = streams
        streams.settled = self.flush
        # When each result was sent over this connection.
        self._sent: dict[str, float] = {}
        # Answers to an abort that came while the result was being written.
        self._afterwards: list[Say] = []

    def attach(self, session: Session, send: Send) -> None:
        """Speak over a new connection."""
        self._speaker.attach(session, send)
        self._sent.clear()
        self._streams.restart()

    def detach(self) -> None:
        """Speak no more, until the next connection."""
        self._speaker.detach()

    def say(self, say: Say) -> None:
        """Tell the server; the end of a job as soon as it is kept, and later, if not now."""
        # What has been told of a job that is over stays; a server that asks for more of it is answered, no more.
        if say.is_result and not self._spool.is_over(say.job_id or ""):
            background(self._keep(say), self.log, "A result was not kept")
        elif say.kind is Kind.ABORTED and self._spool.unwritten:
            # The job was over when the abort came, and the server takes for its end what it hears first.
            if say not in self._afterwards:
                self._afterwards.append(say)
        else:
            self._speaker.transmit(partial(self._body, say))

    def beat(self, state: State) -> bool:
        """Tell the server that we are here, and what we do; False where it could not be told."""
        job_id, job_state = state.job_id, state.job_state
        if isinstance(state, Idle) and self._speaker.offers("output") and (untold := self._untold):
            # To the server a job runs until it hears of its end.
            job_id, job_state = untold, AgentState.RUNNING
        told = self._speaker.say(partial(NodeHeartbeat, job_id=job_id, job_state=job_state))
        self._streams.beat()
        return told

    def flush(self) -> bool:
        """Say the results that wait, oldest first; False where the connection does not take them all."""
        now = self._clock.seconds()
        acknowledges = self._speaker.offers("results")
        for say in self._spool.waiting:
            job_id = say.job_id or ""
            if self._speaker.is_attached and not acknowledges and job_id in self._spool.restored:
                self.acknowledged(job_id)
                continue
            if self._is_held(say) or now - self._sent.get(job_id, now - RESEND) < RESEND:
                continue
            if not self._speaker.transmit(partial(self._body, say)):
                return False
            if acknowledges:
                self._sent[job_id] = now
            else:
                self.acknowledged(job_id)
        return True

    def acknowledged(self, job_id: str) -> None:
        """The server has the result of a job."""
        self._sent.pop(job_id, None)
        if not self._speaker.offers("output"):
            self._streams.drop(job_id)
        background(self._spool.drop(job_id), self.log, "A result was not dropped")

    def stored(self, job_id: str, offsets: Mapping[Channel, int]) -> None:
        """The server has so much of the output of a job."""
        self._streams.stored(job_id, offsets)

    def greeted(self) -> None:
        """The server may have noticed a new connection; what was sent over the one before is lost then."""
        self._streams.greeted()

    def hurry(self, job_id: str | None) -> None:
        """The server wants to hear the end of a job, or of whatever there is, now."""
        self._streams.hurry(job_id)
        self.flush()

    def say_again(self, job_id: str) -> bool:
        """Say the result of a job as soon as it can be; False where none waits."""
        waits = self._spool.has_result(job_id)
        self._sent.pop(job_id, None)
        self.flush()
        return waits

    async def drain(self, seconds: float) -> None:
        """Wait until nothing waits, but no longer than so many seconds, and only where there is a server."""
        now = self._clock.seconds()
        while not self._spool.is_empty and self._speaker.is_attached and self._clock.seconds() < now + seconds:
            await sleep(self._clock, _DRAIN_EVERY)
            if self._clock.seconds() >= now + seconds / 2:
                self.hurry(None)

    async def _keep(self, say: Say) -> None:
        await self._spool.keep(say, self._whole(say))
        answers, self._afterwards = self._afterwards, []
        if answers:
            self._streams.hurry(say.job_id)
        self.flush()
        for answer in answers:
            self._speaker.transmit(partial(self._body, answer))

    async def _whole(self, say: Say) -> Say:
        """A result and how long the output is that goes with it."""
        output = await self._streams.finish(say.job_id or "")
        if say.kind is Kind.ABORTED:
            # Who wanted it ended waits for the answer.
            self._streams.hurry(say.job_id)
        elif output is not None:
            return evolve(say, exit=evolve(say.exit or Exit(), output=output))
        return say

    def _is_held(self, say: Say) -> bool:
        return self._streams.holds(say.job_id or "")

    @property
    def _untold(self) -> str | None:
        """A job that is over, whose end waits to be kept, or for its output."""
        held = (say.job_id for say in self._spool.waiting if self._is_held(say))
        return next(chain(self._spool.unwritten, held), None)

    def _body(self, say: Say, common: dict[str, Any]) -> bytes:
        fields: dict[str, Any] = {**common, "job_id": say.job_id}
        if self._speaker.offers("reasons"):
            fields |= _reasons(say)
        if say.exit is not None and say.exit.output is not None and self._speaker.offers("output"):
            fields["output"] = self._streams.totals(say.job_id or "") or say.exit.output
        make: Make = partial(_MESSAGES[say.kind], **fields)
        captured = self._captured(say)
        if captured is None:
            return encode(make())
        return fit(
            lambda stdout, stderr: encode(make(stdout=stdout, stderr=stderr)), *captured, self._speaker.max_body_size
        )

    def _captured(self, say: Say) -> tuple[Captured, Captured] | None:
        """The outputs that go with a result."""
        how = say.exit
        if how is not None and how.stdout is not None and how.stderr is not None:
            return how.stdout, how.stderr
        if how is None or how.output is None or self._speaker.offers("output"):
            return None
        # The server took outputs when the job began, and is an older one now.
        return self._streams.captured(say.job_id or "")


def _reasons(say: Say) -> dict[str, Any]:
    reasons: dict[str, Any] = {"reason": say.reason} if say.reason else {}
    if say.kind is Kind.FAILED and say.exit is not None:
        reasons |= {"exit_status": say.exit.status, "signal": say.exit.signal}
    return reasons
