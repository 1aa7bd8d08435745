"""Obeys the server: runs the job's machine and carries out its effects.

What may run is decided by the order desk, how a process lives by :mod:`process`, what is remembered by :mod:`spool`,
what is said by the sender; the rules are the machine's. Commands are obeyed one after the other: the next one waits
while a commit is being checked. A job that ran here does not run again, whoever asks.
"""

import shlex
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from pushy_agent.background import background
from pushy_agent.clock import Clock, DelayedCall
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
    Running,
    Say,
    Start,
    Started,
    State,
    StopAsked,
    TimeIsUp,
    step,
)
from pushy_agent.jobfile import JobFiles
from pushy_agent.locks import Held, Lock
from pushy_agent.order import Order, Refused
from pushy_agent.process import CannotStart
from pushy_protocol.messages import Abort, Ack, Channel, Commit, Run, ServerCommand

MAX_QUEUED = 100
"""Commands that wait while one is obeyed; the server repeats what is lost."""


class Child(Protocol):
    """A command that runs; see :class:`pushy_agent.process.Process`."""

    def end(self) -> None:
        """End it, and all that came of it."""


class Memory(Protocol):
    """What is known of jobs that ran; see :class:`pushy_agent.spool.Spool`."""

    def is_over(self, job_id: str) -> bool:
        """Whether the job ran here."""

    async def begin(self, job_id: str) -> None:
        """Note that it is about to start; :raise OSError: it cannot be noted."""

    async def cancel(self, job_id: str) -> None:
        """Note that it did not start after all."""


class Voice(Protocol):
    """What speaks to the server; see :class:`pushy_agent.sender.Sender`."""

    def say(self, say: Say) -> None:
        """Tell the server."""

    def say_again(self, job_id: str) -> bool:
        """Say a job's result again; False where none waits."""

    def acknowledged(self, job_id: str) -> None:
        """The server has a job's result."""

    def stored(self, job_id: str, offsets: Mapping[Channel, int]) -> None:
        """The server has so much of a job's output."""

    def greeted(self) -> None:
        """The server may have noticed a new connection."""

    def hurry(self, job_id: str | None) -> None:
        """The server wants to hear the end of a job, or of any, now."""


Spawn = Callable[[Order, Mapping[str, str], Callable[[Exit], None]], Child]
"""Starts an order with an environment; the last is called once, later, with how it ended."""


class Worker:
    """A node's one job, carried out."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        check: Callable[[Commit], Awaitable[Order]],
        spawn: Spawn,
        files: Callable[[], JobFiles],
        memory: Memory,
        voice: Voice,
        is_online: Callable[[], bool],
    ) -> None:
        """:param check: makes the order of a commit, or raises Refused
        :param spawn: starts an order, or raises CannotStart
        :param files: gives the place for the files of jobs
        :param is_online: whether the server is there; no work is taken while it is not
        """
        self._clock = clock
        self._check = check
        self._spawn = spawn
        self._files = files
        self._memory = memory
        self._voice = voice
        self._is_online = is_online
        self._turn = DeferredLock()
        self._queued = 0
        self._child: Child | None = None
        self._lock: Lock | None = None
        self._time_limit: DelayedCall | None = None
        self._stopped: Deferred[None] | None = None
        self._idle: Deferred[None] | None = None
        self.state: State = Idle()

    def on_command(self, command: ServerCommand) -> None:
        """Do what the server asks for."""
        if isinstance(command, Ack):
            self._acknowledged(command)
        elif self._queued < MAX_QUEUED:
            self._queued += 1
            background(self._in_turn(command), self.log, "A command was not obeyed")

    async def stop(self, grace: float = 0) -> None:
        """Take no more work; let what runs end within `grace` seconds, then end it. Its end has then been said."""
        stopped = self._stopped = Deferred()
        if grace and isinstance(self.state, Running):
            self.log.info("A job runs; it has {grace} s to end", grace=grace)
            timer = self._clock.callLater(grace, self._feed, StopAsked())
            await stopped
            if timer.active():
                timer.cancel()
        else:
            self._feed(StopAsked())
            await stopped

    async def idle(self) -> None:
        """Wait until no job is committed or runs."""
        if not isinstance(self.state, Idle):
            self._idle = self._idle or Deferred()
            await self._idle

    def _acknowledged(self, ack: Ack) -> None:
        if ack.job_id is None:
            self._voice.greeted()
        elif ack.offsets is None:
            self._voice.acknowledged(ack.job_id)
        else:
            self._voice.stored(ack.job_id, ack.offsets)

    async def _in_turn(self, command: Commit | Run | Abort) -> None:
        await self._turn.acquire()
        try:
            await self._obey(command)
        finally:
            self._queued -= 1
            self._turn.release()

    async def _obey(self, command: Commit | Run | Abort) -> None:
        if isinstance(command, Abort):
            self._voice.hurry(command.job_id)
            self._feed(AbortAsked(job_id=command.job_id))
        elif not self._is_online():
            self.log.warn(
                "The server's heartbeat is silent, so a {kind} for job {job_id} is not obeyed",
                kind=type(command).__name__.lower(),
                job_id=command.job_id,
            )
        elif self._memory.is_over(command.job_id) and self._voice.say_again(command.job_id):
            self.log.info("Job {job_id} is over; its result is said again", job_id=command.job_id)
        elif isinstance(command, Commit):
            self._feed(CommitAsked(job_id=command.job_id, verdict=await self._verdict(command)))
        else:
            self._feed(RunAsked(job_id=command.job_id))

    async def _verdict(self, commit: Commit) -> Order | str:
        if not isinstance(self.state, Idle):
            return "busy"
        if self._memory.is_over(commit.job_id):
            return "already_run"
        try:
            order = await self._check(commit)
            if self._stopped is not None:
                raise Refused("agent_stopping", "the agent is being stopped")  # noqa: TRY301 - refused as the rest is
            self._take_lock(order)
        except Refused as refusal:
            self.log.warn(
                "Job {job_id} is refused ({reason}): {refusal}",
                job_id=commit.job_id,
                reason=refusal.reason,
                refusal=refusal,
            )
            return refusal.reason
        return order

    def _take_lock(self, order: Order) -> None:
        if order.lock is None:
            return
        try:
            self._lock = Lock(order.lock)
        except Held:
            raise Refused("locked", f"somebody else holds the lock {order.lock}") from None
        except OSError as error:
            raise Refused("cannot_lock", f"{order.lock}: {error.strerror}") from None

    def _feed(self, event: Event) -> None:
        self.state, effects = step(self.state, event)
        if isinstance(self.state, Idle) and self._lock is not None:
            self._lock.release()
            self._lock = None
        for effect in effects:
            self._carry_out(effect)
        if isinstance(self.state, Idle):
            for waiting in (self._stopped, self._idle):
                if waiting is not None and not waiting.called:
                    waiting.callback(None)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Say():
                self._log_said(effect)
                self._voice.say(effect)
            case Start(order=order):
                background(self._start(order), self.log, "A job was not started")
            case End(job_id=job_id):
                self.log.info("Job {job_id} is being ended", job_id=job_id)
                assert self._child is not None
                self._child.end()

    async def _start(self, order: Order) -> None:
        job_id = order.job_id
        try:
            await self._note_start(job_id)
            path = self._write_file(order)
            env = {**order.env, **({"CHEF_PUSH_JOB_FILE": str(path)} if path else {})}
            self._child = self._spawn(order, env, lambda how: self._ended(job_id, how))
        except CannotStart as error:
            await self._not_started(job_id, error)
            return
        self.log.info(
            "Job {job_id} runs {argv} as {user}",
            job_id=job_id,
            argv=shlex.join(order.argv),
            user=order.identity.name if order.identity else "the agent's user",
        )
        if order.timeout is not None:
            self._time_limit = self._clock.callLater(order.timeout, self._feed, TimeIsUp(job_id=job_id))
        self._feed(Started(job_id=job_id))

    async def _note_start(self, job_id: str) -> None:
        try:
            await self._memory.begin(job_id)
        except OSError as error:
            raise CannotStart("cannot_record", f"its start cannot be noted: {error}") from None
        if isinstance(self.state, Running) and self.state.ending is not None:
            raise CannotStart("agent_stopping", "it is not wanted any more")

    def _write_file(self, order: Order) -> Path | None:
        if order.file is None:
            return None
        try:
            return self._files().write(order.file, order.identity)
        except OSError as error:
            raise CannotStart("bad_file", f"its file cannot be written: {error}") from None

    async def _not_started(self, job_id: str, error: CannotStart) -> None:
        self.log.error("Job {job_id} cannot start ({reason}): {error}", job_id=job_id, reason=error.reason, error=error)
        self._feed(NotStarted(job_id=job_id, reason=error.reason))
        if not self._memory.is_over(job_id):
            await self._memory.cancel(job_id)

    def _ended(self, job_id: str, how: Exit) -> None:
        self._child = None
        if self._time_limit is not None and self._time_limit.active():
            self._time_limit.cancel()
        self._time_limit = None
        self.tidy()
        self._feed(Ended(job_id=job_id, exit=how))

    def tidy(self) -> None:
        """Remove the files of jobs that have the age for it."""
        try:
            self._files().tidy()
        except OSError as error:
            self.log.warn("Files of jobs are left: {error}", error=error)

    def _log_said(self, say: Say) -> None:
        how = say.exit
        if say.kind is Kind.FAILED and how is not None:
            said = f"with status {how.status}" if how.signal is None else f"by signal {how.signal}"
            self.log.warn("Job {job_id} failed, {said}", job_id=say.job_id, said=said)
        elif say.is_result or say.kind in {Kind.ACK_COMMIT, Kind.NACK_COMMIT, Kind.NACK_RUN}:
            reason = f" ({say.reason})" if say.reason else ""
            self.log.info("Job {job_id}: {kind}{reason}", job_id=say.job_id, kind=say.kind.value, reason=reason)
