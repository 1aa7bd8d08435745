"""ZeroMQ sockets on Twisted's reactor: txZMQ's connection with its faults mended, in one place.

What txZMQ 1.0.0 does, and what :class:`Connection` does instead:

- a send that raises eats the readiness edge and the connection stalls → a read is scheduled in `finally`;
- `doRead` drains without limit and starves the reactor → at most :data:`READ_BATCH` messages a turn;
- an error other than EAGAIN in `doRead` removes the reader for good → it is reported, and reading goes on;
- its handlers raise at a frame count that they do not expect → frames are passed on as they are, however many (of very
  many, the first :data:`MAX_FRAMES`: one message must not starve the reactor either);
- a second shutdown, or a send after it, raises → no-ops (a send says so by its result);
- a message that comes in right after the endpoint was added is not noticed, until another one is → a read is
  scheduled there too;
- no high-water mark → :data:`HIGH_WATER_MARK` messages a peer;
- `callLater` on the global reactor → on the one that was given.

The meaning of frames is not known here.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import zmq
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from txzmq import ZmqConnection, ZmqEndpoint, ZmqEndpointType, ZmqFactory

from pushy_protocol.keys import CurveKeyPair

READ_BATCH = 256
"""Messages read in one turn of the reactor; measured to cost nothing against reading all of them."""

MAX_FRAMES = 16
"""Frames of a message that are passed on; no message of ours has so many (ZAP's have up to 10)."""

HIGH_WATER_MARK = 20_000
"""Messages queued for one peer before sends to it fail; small control messages, so some 10 MB."""

PEER_PROPERTY = b"User-Id"
"""The property of a message in which ZAP's answer tells who sent it."""

RETRY_DELAY = 1.0
"""Seconds until a socket that could not be read is tried again, unless it has news before."""

REST = 0.01
"""Seconds for which a connection that `rests` is left alone after it was read.

A message that comes alone costs a turn of the reactor, a wake of ZeroMQ's thread and a look for more: several times
what it costs as one of some. Of many peers' messages some come in every rest.
"""

PROMPT = 0.05
"""Seconds after a send in which a connection does not rest: an answer is awaited."""

MANY = 8
"""Messages in one reading after which a connection rests even so: the answers of many are read together."""

# As plain numbers: pyzmq's flags are enums, and what combines them costs more than a frame that is sent.
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_POLLIN = int(zmq.POLLIN)

_ERRORS_THAT_END = {zmq.ENOTSOCK, zmq.ETERM}

OnMessage = Callable[[list[bytes], str], None]
"""Called with a message's frames and its peer's name."""


class Reactor(Protocol):
    """What of a reactor is used here."""

    def addReader(self, reader: Any, /) -> None: ...
    def removeReader(self, reader: Any, /) -> None: ...
    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., object], /) -> IDelayedCall: ...  # noqa: A002


class Context(ZmqFactory):  # type: ignore[misc]  # txZMQ has no types
    """A ZeroMQ context on a given reactor; connections that are open when it is shut down are closed with it."""

    lingerPeriod = 500  # milliseconds, for what is queued when a socket closes

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        super().__init__()

    def shutdown(self) -> None:
        """Close every connection, then the context. A second call does nothing."""
        if self.context is not None:
            super().shutdown()


class Connection(ZmqConnection):  # type: ignore[misc]  # txZMQ has no types
    """A socket of one type, and what is called with each whole message that it receives.

    CURVE must be set before a socket is bound or connected, so the endpoints come after the construction.
    """

    highWaterMark = HIGH_WATER_MARK

    read_scheduled: Any  # an IDelayedCall or None, as txZMQ has it

    log = Logger()

    def __init__(
        self, context: Context, socket_type: int, on_message: OnMessage | None = None, *, rests: bool = False
    ) -> None:
        """:param on_message: called with the frames and the name that ZAP gave the peer (empty without ZAP)
        :param rests: of many peers, whose messages may wait for :data:`REST` unless they answer something
        """
        self.socketType = socket_type
        self._on_message = on_message
        self._reactor: Reactor = context.reactor
        self._is_skipping = False  # the rest of a message that had too many frames
        self._is_reading = False
        self._is_router = socket_type == zmq.ROUTER
        self._rests = rests
        self._is_resting = False  # nobody looks at its descriptor until the read that is scheduled
        self._sent_at = -math.inf
        self._senders: set[bytes] = set()  # of the messages of a reading: a ROUTER's first frame says whose it is
        self._behind_since: float | None = None
        super().__init__(context)
        # What pyzmq's class adds to that of its backend, options that are drafts, takes as long as the sending.
        self._send_frame = partial(zmq.backend.Socket.send, self.socket)

    def serve_curve(self, keys: CurveKeyPair, zap_domain: str) -> None:
        """Be the CURVE server of what connects; ZAP decides who may."""
        self.socket.set(zmq.ZAP_DOMAIN, zap_domain.encode())
        # Without this, ZeroMQ lets everybody in while nobody answers for ZAP.
        self.socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self.socket.set(zmq.CURVE_SERVER, 1)
        self.socket.set(zmq.CURVE_SECRETKEY, keys.secret.encode())

    def use_curve(self, keys: CurveKeyPair, server_public: str) -> None:
        """Connect with CURVE to the server that has this public key (Z85)."""
        self.socket.set(zmq.CURVE_SERVERKEY, server_public.encode())
        self.socket.set(zmq.CURVE_PUBLICKEY, keys.public.encode())
        self.socket.set(zmq.CURVE_SECRETKEY, keys.secret.encode())

    def bind(self, address: str) -> str:
        """Bind, and return the address that was bound (its port, where 0 was asked for).

        :raise zmq.ZMQError: it cannot be bound.
        """
        self._add(ZmqEndpointType.bind, address)
        return str(self.socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())

    def connect(self, address: str) -> None:
        """Connect, now and again until it is shut down.

        :raise zmq.ZMQError: the address is none.
        """
        self._add(ZmqEndpointType.connect, address)

    @property
    def closed(self) -> bool:
        """Whether it has been shut down."""
        return self.factory is None

    def behind(self) -> float:
        """For how many seconds a ROUTER has not got round all peers that have something to say; 0 where it does.

        One that sends more than can be read keeps nobody else waiting, and does not count.
        """
        return 0.0 if self._behind_since is None else self._reactor.seconds() - self._behind_since

    def send(self, message: Sequence[bytes]) -> bool:
        """Queue a message; never waits. False where it could not be: queue full, no peer yet, or shut down.

        A ROUTER or PUB drops what it has no room or no peer for, and says nothing: True there promises nothing.
        """
        if self.closed:
            return False
        try:
            for frame in message[:-1]:
                self._send_frame(frame, _MORE)
            self._send_frame(message[-1], _NOBLOCK)
        except zmq.ZMQError as error:
            self.log.debug("A message was not sent: {error}", error=error)
            return False
        finally:
            self._look_again()
        return True

    def shutdown(self) -> None:
        """Close the socket. A second call does nothing."""
        if not self.closed:
            super().shutdown()

    def doRead(self) -> None:
        """Read what is there, at most :data:`READ_BATCH` messages; the reactor calls it."""
        if self.read_scheduled is not None:
            if self.read_scheduled.active():
                self.read_scheduled.cancel()
            self.read_scheduled = None
        self._is_reading = True
        try:
            count = 0 if self.closed else self._read_batch()
        except zmq.ZMQError as error:
            self.log.warn("Reading from a socket failed: {error}", error=error)
            if error.errno in _ERRORS_THAT_END:
                self.shutdown()
            else:
                self._watch()
                self._schedule_read(RETRY_DELAY)
        else:
            # ZeroMQ takes from its peers in turn: where one comes twice in a reading, nobody was left waiting.
            if count < READ_BATCH or len(self._senders) < count:
                self._behind_since = None
            elif self._behind_since is None:
                self._behind_since = self._reactor.seconds()
            if count == READ_BATCH:
                self._schedule_read()
            elif count and self._may_rest(count):
                self._rest()
            else:
                self._watch()
        finally:
            self._is_reading = False

    def messageReceived(self, message: list[bytes], peer: str = "") -> None:
        """Pass a message on."""
        if self._on_message is None:
            return
        try:
            self._on_message(message, peer)
        except Exception:
            # The handlers are ours: what escapes them is a bug, which must cost one message and not the socket.
            self.log.failure("The handler of a message failed; the message is dropped")

    def _add(self, kind: str, address: str) -> None:
        self.addEndpoints([ZmqEndpoint(kind, address)])
        # ZeroMQ signals what comes in only after the new pipe was once found empty; binding and connecting also look
        # at the socket, as sending does.
        self._schedule_read()

    def _read_batch(self) -> int:
        """Read at most :data:`READ_BATCH` messages; how many there were."""
        # Asking for the events is what acknowledges the descriptor, also on a socket that only sends and must not be
        # read (PUB: its subscriptions come in here). After that, reading until EAGAIN does.
        if not int(self.socket.get(zmq.EVENTS)) & _POLLIN:
            return 0
        self._senders.clear()
        for count in range(READ_BATCH):
            try:
                if self._is_skipping:
                    self.socket.recv(_NOBLOCK)
                    self._is_skipping = bool(self.socket.get(zmq.RCVMORE))
                    continue
                frames, peer = self._receive()
            except zmq.Again:
                return count
            self._senders.add(frames[0])
            self.messageReceived(frames, peer)
            if self.closed:
                return count
        return READ_BATCH

    def _receive(self) -> tuple[list[bytes], str]:
        recv = self.socket.recv
        # What a ROUTER says of whom it heard is always followed by what it heard, and costs less as plain bytes.
        frames = [recv(_NOBLOCK)] if self._is_router else []
        while True:
            # Frames, for only they know the peer's name, and whether there are more for less than it costs to ask.
            frame = recv(_NOBLOCK, False)
            frames.append(frame.bytes)
            if not frame.more:
                break
            if len(frames) == MAX_FRAMES:
                self._is_skipping = True
                break
        try:
            peer = frame.get(PEER_PROPERTY)
        except (zmq.ZMQError, UnicodeDecodeError):  # no ZAP on this socket, or a name that is no text
            peer = ""
        return frames, peer

    def _look_again(self) -> None:
        """After a send. ZeroMQ's descriptor is edge-triggered: touching the socket may have eaten the edge of a message
        that came in, and nobody would look again.
        """
        if self.closed:
            return
        if self._rests:
            self._sent_at = self._reactor.seconds()
        if not self._is_reading:  # else it goes on until there is nothing more
            self._watch()
            self._schedule_read()

    def _may_rest(self, count: int) -> bool:
        return self._rests and (count >= MANY or self._reactor.seconds() - self._sent_at > PROMPT)

    def _rest(self) -> None:
        """Leave the socket alone for a while; what comes in meanwhile is read together."""
        if self.closed:
            return
        if not self._is_resting:
            self._is_resting = True
            self._reactor.removeReader(self)
        self._schedule_read(REST)

    def _watch(self) -> None:
        """Have the reactor tell when something comes in, where it does not already."""
        if self._is_resting and not self.closed:
            self._is_resting = False
            if self.read_scheduled is not None:
                self.read_scheduled.cancel()
                self.read_scheduled = None
            self._reactor.addReader(self)

    def _schedule_read(self, delay: float = 0) -> None:
        if self.read_scheduled is None and not self.closed:
            self.read_scheduled = self._reactor.callLater(delay, self.doRead)
