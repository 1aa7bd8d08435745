"""Obeys the server: runs the job's machine and carries out its effects.

What may run is decided by the order desk, how a process lives by :mod:`process`, what is said by the sender; the
rules are the machine's.
"""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pushy_agent.job import (
    AbortAsked,
    CommitAsked,
    Effect,
    End,
    Ended,
    Event,
    Exit,
    Idle,
    Kind,
    NotStarted,
    RunAsked,
    Say,
    Start,
    Started,
    State,
    StopAsked,
    step,
)
from pushy_agent.jobfile import JobFiles
from pushy_agent.order import Order, Refused
from pushy_agent.process import CannotStart
from pushy_protocol.messages import Abort, Ack, Commit, Run, ServerCommand


class Child(Protocol):
    """A command that runs; see :class:`pushy_agent.process.Process`."""

    def end(self) -> None:
        """End it, and its group."""


Spawn = Callable[[Order, Mapping[str, str], Callable[[Exit], None]], Child]
"""Starts an order with an environment; the last is called once, later, with how it ended."""


class Worker:
    """A node's one job, carried out."""

    log = Logger()

    def __init__(
        self,
        *,
        check: Callable[[Commit], Order],
        spawn: Spawn,
        files: JobFiles,
        say: Callable[[Say], None],
        is_online: Callable[[], bool],
    ) -> None:
        """:param check: makes the order of a commit, or raises Refused
        :param spawn: starts an order, or raises CannotStart
        :param is_online: whether the server is there; no work is taken while it is not
        """
        self._check = check
        self._spawn = spawn
        self._files = files
        self._say = say
        self._is_online = is_online
        self._child: Child | None = None
        self._file: Path | None = None
        self._stopped: Deferred[None] | None = None
        self.state: State = Idle()

    def on_command(self, command: ServerCommand) -> None:
        """Do what the server asks for."""
        if self._stopped is not None:
            return
        match command:
            case Abort(job_id=job_id):
                self._feed(AbortAsked(job_id=job_id))
            case Ack():
                pass  # it says that the channel works, which its coming has shown
            case Commit() | Run() if not self._is_online():
                self.log.warn(
                    "The server's heartbeat is silent, so a {kind} for job {job_id} is not obeyed",
                    kind=type(command).__name__.lower(),
                    job_id=command.job_id,
                )
            case Commit():
                self._feed(CommitAsked(job_id=command.job_id, verdict=self._verdict(command)))
            case Run(job_id=job_id):
                self._feed(RunAsked(job_id=job_id))

    async def stop(self) -> None:
        """Take no more work, and end what runs; its end has then been said."""
        stopped = self._stopped = Deferred()
        self._feed(StopAsked())
        await stopped

    def _verdict(self, commit: Commit) -> Order | str:
        if not isinstance(self.state, Idle):
            return "busy"
        try:
            return self._check(commit)
        except Refused as refusal:
            self.log.warn(
                "Job {job_id} is refused ({reason}): {refusal}",
                job_id=commit.job_id,
                reason=refusal.reason,
                refusal=refusal,
            )
            return refusal.reason

    def _feed(self, event: Event) -> None:
        self.state, effects = step(self.state, event)
        for effect in effects:
            self._carry_out(effect)
        if self._stopped is not None and not self._stopped.called and isinstance(self.state, Idle):
            self._stopped.callback(None)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Say():
                self._log_said(effect)
                self._say(effect)
            case Start(order=order):
                self._start(order)
            case End(job_id=job_id):
                self.log.info("Job {job_id} is being ended", job_id=job_id)
                assert self._child is not None
                self._child.end()

    def _start(self, order: Order) -> None:
        job_id = order.job_id
        env = dict(order.env)
        try:
            if order.file is not None:
                self._file = self._files.write(order.file, order.identity)
                env["CHEF_PUSH_JOB_FILE"] = str(self._file)
            self._child = self._spawn(order, env, lambda how: self._ended(job_id, how))
        except CannotStart as error:
            self._not_started(job_id, error.reason, error)
        except OSError as error:
            self._not_started(job_id, "bad_file", error)
        else:
            self.log.info(
                "Job {job_id} runs {argv} as {user}",
                job_id=job_id,
                argv=shlex.join(order.argv),
                user=order.identity.name if order.identity else "the agent's user",
            )
            self._feed(Started(job_id=job_id))

    def _not_started(self, job_id: str, reason: str, error: Exception) -> None:
        self.log.error("Job {job_id} cannot start ({reason}): {error}", job_id=job_id, reason=reason, error=error)
        self._remove_file()
        self._feed(NotStarted(job_id=job_id, reason=reason))

    def _ended(self, job_id: str, how: Exit) -> None:
        self._child = None
        self._remove_file()
        self._feed(Ended(job_id=job_id, exit=how))

    def _remove_file(self) -> None:
        if self._file is None:
            return
        try:
            self._files.remove(self._file)
        except OSError as error:
            self.log.warn("The job's file is left: {error}", error=error)
        self._file = None

    def _log_said(self, say: Say) -> None:
        how = say.exit
        if say.kind is Kind.FAILED and how is not None:
            said = f"with status {how.status}" if how.signal is None else f"by signal {how.signal}"
            self.log.warn("Job {job_id} failed, {said}", job_id=say.job_id, said=said)
        elif say.is_result or say.kind in {Kind.ACK_COMMIT, Kind.NACK_COMMIT, Kind.NACK_RUN}:
            reason = f" ({say.reason})" if say.reason else ""
            self.log.info("Job {job_id}: {kind}{reason}", job_id=say.job_id, kind=say.kind.value, reason=reason)
