"""The two sockets that a session is spoken over, and what is believed of what they bring.

The command channel is a DEALER with CURVE, every message signed with the session key; the heartbeat channel a SUB in
clear, signed with the server's RSA key. What is too large, badly signed, off in time, out of order or no message is
dropped and logged once a minute for each channel. A connection is for one session: for the next one it is closed and
another is made, with new sockets, addresses resolved anew and another CURVE key. What a message asks for is not known
here.
"""

from collections.abc import Callable
from typing import Any

import zmq
from twisted.logger import Logger

from pushy_agent.bootstrap import BootstrapError, Session
from pushy_agent.clock import Clock
from pushy_agent.heartbeat import SequenceGuard
from pushy_agent.monitor import Monitor
from pushy_protocol import envelope, messages
from pushy_protocol.messages import ServerCommand, ServerHeartbeat
from pushy_protocol.timestamps import parse_rfc1123
from pushy_protocol.zeromq import Connection, Context

_LOG_EVERY = 60.0
# A heartbeat has some 250 bytes; whoever sends more on the open channel is cut off by ZeroMQ itself.
_MAX_HEARTBEAT = 16 * 1024
# On the command channel, beside a body: the header and what CURVE adds.
_MAX_OVERHEAD = 16 * 1024
_UNACKNOWLEDGED = 60_000
"""Milliseconds after which a connection is lost on which the kernel's acknowledgements are due."""


class Wire(Connection):
    """A socket that tries again by itself, ever more slowly; txZMQ's names, milliseconds."""

    reconnectInterval = 100
    reconnectIntervalMax = 10_000

    monitor: Monitor | None = None

    def shutdown(self) -> None:
        """Close the socket, and before it what follows it: ZeroMQ waits for both. A second call does nothing."""
        if self.monitor is not None:
            self.monitor.close()
        super().shutdown()


class Refused(Exception):
    """A message that is not believed."""


class Channels:
    """An open connection with the server."""

    log = Logger()

    def __init__(
        self,
        session: Session,
        *,
        context: Context,
        clock: Clock,
        now: Callable[[], float],
        guard: SequenceGuard,
        on_command: Callable[[ServerCommand], None],
        on_heartbeat: Callable[[ServerHeartbeat], None],
    ) -> None:
        """Open both sockets.

        :param now: gives the seconds since the epoch
        :param guard: knows the heartbeats so far
        :raise BootstrapError: the session's addresses are none.
        """
        self._session = session
        self._signer = envelope.SessionSigner(session.session_key)
        self._now = now
        self._guard = guard
        self._on_command = on_command
        self._on_heartbeat = on_heartbeat
        self._complaints = Complaints(clock)
        self._refusal = ""
        self._commands = Wire(context, zmq.DEALER, self._command_received)
        self._monitor = self._commands.monitor = Monitor(self._commands.socket, session.heartbeat.command_addr)
        self._heartbeats = Wire(context, zmq.SUB, self._heartbeat_received)
        try:
            self._connect()
        except zmq.ZMQError as error:
            self.close()
            raise BootstrapError(f"the server's addresses are not usable: {error}") from error

    def send(self, body: bytes) -> bool:
        """Sign and queue a body; False where there is no connection now, or its queue is full. Never waits."""
        self._monitor.read()
        return self._commands.send([self._signer.sign(body), body])

    @property
    def stands(self) -> bool:
        """Whether the server has let us in on the command channel."""
        return self._monitor.stands()

    @property
    def refusal(self) -> str:
        """What was refused last, on either channel, and why; empty where nothing was."""
        return self._refusal

    def trouble(self) -> str:
        """How the command channel stands, in an operator's words, and what was refused last on either channel."""
        return self._monitor.trouble() + (f"; refused: {self._refusal}" if self._refusal else "")

    def close(self) -> None:
        """Close both sockets. A second call does nothing."""
        self._commands.shutdown()
        self._heartbeats.shutdown()

    def _connect(self) -> None:
        addresses = self._session.heartbeat
        self._commands.use_curve(self._session.curve, self._session.server_curve_key)
        # Queue only for a connection that stands: a send then tells whether the server has let us in, and nothing
        # that was said to a server long gone reaches the next one.
        self._commands.socket.set(zmq.IMMEDIATE, 1)
        self._watch(self._commands.socket)
        self._commands.connect(addresses.command_addr)
        self._heartbeats.socket.set(zmq.MAXMSGSIZE, _MAX_HEARTBEAT)
        self._heartbeats.socket.set(zmq.SUBSCRIBE, b"")
        self._heartbeats.connect(addresses.out_addr)

    def _watch(self, commands: Any) -> None:
        """Have ZeroMQ notice a command channel that is dead, or out of step since a byte was damaged: it reconnects.

        ZMTP's own ping would notice it too, but with it libzmq 4.3.5 aborts the process when a connection breaks at a
        bad moment (`Assertion failed: !_io_error`).
        """
        commands.set(zmq.MAXMSGSIZE, self._session.max_body_size + _MAX_OVERHEAD)
        commands.set(zmq.TCP_MAXRT, _UNACKNOWLEDGED)

    def _command_received(self, frames: list[bytes], _peer: str) -> None:
        try:
            command = self._believe_command(frames)
        except (Refused, envelope.EnvelopeError, messages.MessageError) as error:
            self._complain("command", error)
        else:
            self._on_command(command)

    def _heartbeat_received(self, frames: list[bytes], _peer: str) -> None:
        try:
            message = self._believe_heartbeat(frames)
        except (Refused, envelope.EnvelopeError, messages.MessageError) as error:
            self._complain("heartbeat", error)
        else:
            self._on_heartbeat(message)

    def _believe_command(self, frames: list[bytes]) -> ServerCommand:
        header, body = self._two(frames)
        self._signer.verify(header, body)
        command = messages.decode_from_server(body)
        self._check_time(command.timestamp)
        return command

    def _believe_heartbeat(self, frames: list[bytes]) -> ServerHeartbeat:
        header, body = self._two(frames)
        envelope.verify_rsa(header, body, self._session.server_key)
        message = messages.decode_heartbeat(body)
        self._check_time(message.timestamp)
        if not self._guard.is_new(message.incarnation_id, message.sequence):
            raise Refused(f"heartbeat {message.sequence} comes after a later one")
        return message

    def _two(self, frames: list[bytes]) -> tuple[bytes, bytes]:
        if len(frames) != 2:
            raise Refused(f"expected 2 frames, got {len(frames)}")
        header, body = frames
        if len(body) > self._session.max_body_size:
            raise Refused(f"the body has {len(body)} bytes, at most {self._session.max_body_size} are expected")
        return header, body

    def _check_time(self, timestamp: str) -> None:
        skew = parse_rfc1123(timestamp) - self._now()
        if abs(skew) > self._session.max_skew:
            raise Refused(f"its clock is {skew:+.0f} s off ours, at most {self._session.max_skew:.0f} s are expected")

    def _complain(self, channel: str, error: Exception) -> None:
        self._refusal = f"{channel}: {error}"
        if (others := self._complaints.may_log(channel)) is not None:
            self.log.warn(
                "A message on the {channel} channel is refused: {error} ({others} more since the last such line)",
                channel=channel,
                error=error,
                others=others,
            )


class Complaints:
    """Holds back what would flood the log: one line a minute for each subject."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def may_log(self, subject: str) -> int | None:
        """How many were held back since the last line, if there may be one now."""
        now = self._clock.seconds()
        if now - self._last.get(subject, -_LOG_EVERY) < _LOG_EVERY:
            self._held[subject] = self._held.get(subject, 0) + 1
            return None
        self._last[subject] = now
        return self._held.pop(subject, 0)
