"""One session with the server, from the opening of its channels until another has to be agreed on.

It beats, watches over the server's heartbeat, and tells when the terms should be read anew: their lifetime is over,
the server was restarted, it is silent, or it does not answer on the command channel. It goes on until it is closed,
so that a renewal costs no heartbeat. Agreeing on terms, and trying again, is for :mod:`link`.
"""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pushy_agent.bootstrap import Session
from pushy_agent.clock import Clock, DelayedCall
from pushy_agent.heartbeat import Liveness
from pushy_agent.job import State
from pushy_agent.sender import Sender
from pushy_protocol.messages import ALIVE_INTERVALS, Ack, ServerCommand, ServerHeartbeat

SPLAY = 60.0
"""Seconds over which agents spread what they ask of a server that was restarted or silent: 10,000 agents are then 170
requests a second. Until then they speak on, for a server keeps its sessions."""

ANSWER_INTERVALS = 5
"""Heartbeats within which a server greets whoever connects."""

ALIVE_PATIENCE = 3
"""How many times the server may leave out what it says to show that the command channel works, where it does."""

_LIFETIME_SPREAD = 0.1
_RETRY = 0.25
# Seconds, or intervals where these are shorter, until a heartbeat that could not be sent is tried again.


class OpenChannels(Protocol):
    """The channels of a session, open; see :class:`pushy_agent.connection.Channels`."""

    def send(self, body: bytes) -> bool:
        """Queue a body; False where it could not."""

    def trouble(self) -> str:
        """How the command channel stands, in an operator's words."""

    def close(self) -> None:
        """Close them."""


Open = Callable[[Session, Callable[[ServerCommand], None], Callable[[ServerHeartbeat], None]], OpenChannels]
"""Opens the channels of a session; what is believed of their messages goes to these two. May raise BootstrapError."""


class Conversation:
    """A session that is spoken. `over` fires once, with why the terms should be read anew."""

    log = Logger()

    def __init__(
        self,
        session: Session,
        *,
        clock: Clock,
        jitter: Callable[[], float],
        open_channels: Open,
        sender: Sender,
        on_command: Callable[[ServerCommand], None],
        job: Callable[[], State],
    ) -> None:
        """Open the channels and begin to beat.

        :param jitter: gives a number from 0 up to, but not including, 1
        :param job: gives the state that a heartbeat tells
        :raise BootstrapError: the session's addresses are none.
        """
        self.over: Deferred[str] = Deferred()
        self.server_is_back: Callable[[], None] = lambda: None
        """Called when the server's heartbeat is back after a silence."""
        self.was_answered = False
        self._session = session
        self._clock = clock
        self._jitter = jitter
        self._sender = sender
        self._on_command = on_command
        self._job = job
        beat = session.heartbeat
        self._liveness = Liveness(
            interval=beat.interval,
            offline_threshold=beat.offline_threshold,
            online_threshold=beat.online_threshold,
            now=clock.seconds(),
        )
        self._channels = open_channels(session, self._command_received, self._heartbeat_received)
        sender.attach(session, self._send)
        self._heard = clock.seconds()  # when something came last on the command channel
        self._renewal: DelayedCall | None = None
        self._retry: DelayedCall | None = None
        self._restarted = False
        self._timers: list[DelayedCall] = [
            clock.callLater(session.lifetime * (1 - _LIFETIME_SPREAD * jitter()), self.end, "it is old"),
            clock.callLater(ANSWER_INTERVALS * beat.interval, self._expect_answer),
        ]
        self._beats = LoopingCall(self._beat)
        self._beats.clock = clock  # type: ignore[assignment]  # of zope's IReactorTime it uses what Clock has
        _ = self._beats.start(beat.interval, now=True)

    @property
    def is_online(self) -> bool:
        """Whether the server is there."""
        return self._liveness.online

    def end(self, why: str) -> None:
        """Have the terms read anew; the first reason counts."""
        if not self.over.called:
            self.over.callback(why)

    def close(self) -> None:
        """Say no more, and close the channels."""
        self._sender.detach()
        if self._beats.running:
            self._beats.stop()
        for timer in (*self._timers, self._renewal, self._retry):
            if timer is not None and timer.active():
                timer.cancel()
        self._channels.close()

    def _send(self, body: bytes) -> bool:
        return self.is_online and self._channels.send(body)

    def _beat(self) -> None:
        try:
            was_online = self.is_online
            if self._liveness.check(self._clock.seconds()):
                # Never a heartbeat before the results, where the connection has come to be just now: to the server a
                # new process that does nothing has lost its job.
                if not (self._sender.flush() and self._sender.beat(self._job())):
                    self._beat_soon()
                self._expect_life()
            elif was_online:
                self.log.warn(
                    "The server's heartbeat is silent; nothing is sent until it is back ({trouble})",
                    trouble=self._channels.trouble(),
                )
                self._renew_later("the server's heartbeat is silent")
        except Exception:
            # A LoopingCall whose function raises stops for ever.
            self.log.failure("A heartbeat failed")

    def _beat_soon(self) -> None:
        """The connection is just being made: the server counts heartbeats, and need not miss one for that."""
        if self._retry is None or not self._retry.active():
            self._retry = self._clock.callLater(_RETRY * min(1.0, self._session.heartbeat.interval), self._beat)

    def _expect_life(self) -> None:
        """A connection may be open and carry nothing, in one direction alone: only what comes shows that it works."""
        patience = ALIVE_PATIENCE * ALIVE_INTERVALS * self._session.heartbeat.interval
        silent = self._clock.seconds() - self._heard
        if silent > patience and "alive" in (self._session.extensions or ()):
            self.end(f"nothing has come on the command channel for {silent:.0f} s ({self._channels.trouble()})")

    def _command_received(self, command: ServerCommand) -> None:
        self._heard = self._clock.seconds()
        if not self.was_answered:
            self.was_answered = True
            self.log.info("The server answers; the node is connected")
        self._on_command(command)
        if isinstance(command, Ack) and command.job_id is None:
            # It has noticed a new connection; the last heartbeat may have been lost with the one before.
            self._beat()

    def _heartbeat_received(self, heartbeat: ServerHeartbeat) -> None:
        was_online = self.is_online
        self._liveness.heard(self._clock.seconds())
        if self.is_online and not was_online:
            self.log.info("The server's heartbeat is back")
            self.server_is_back()
            if self._renewal is not None and self._renewal.active() and not self._restarted:
                self._renewal.cancel()
                self._renewal = None
        if heartbeat.incarnation_id != self._session.incarnation_id and not self._restarted:
            self._restarted = True
            self._renew_later("the server has been restarted")

    def _renew_later(self, why: str) -> None:
        if self._renewal is None:
            self._renewal = self._clock.callLater(SPLAY * self._jitter(), self.end, why)

    def _expect_answer(self) -> None:
        if not self.was_answered:
            self.end(f"the server has not answered on the command channel ({self._channels.trouble()})")
