"""A descriptor on the reactor, and a pipe that is read in bounded pieces at a bounded rate.

Neither a flood of output nor a disk that is slow to take it may cost the reactor more than a small share of its time,
so a pipe that has brought enough for now is not looked at for a moment. What its bytes are is not known here.
"""

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from pushy_agent.clock import DelayedCall, Reactor

PIPE_SIZE = 1024 * 1024
"""The largest pipe that a user may make: what a command can write while it is not read, and what can be left in a pipe
when reading ends."""

PAUSE = 0.01
"""Seconds for which a pipe that brought a lot is left alone; with :data:`BURST` this makes 50 MB a second."""

BURST = 512 * 1024

_READ_SIZE = 64 * 1024
_READS = 4  # a turn of the reactor, at most


class Sink(Protocol):
    """Takes what a pipe brings."""

    @property
    def is_full(self) -> bool:
        """Whether reading should pause."""

    def add(self, data: bytes) -> None:
        """Take the next bytes, however full it is."""


@implementer(IReadDescriptor)
class Reader:
    """A descriptor on the reactor, and what is called when it is readable."""

    def __init__(
        self, reactor: Reactor, descriptor: int, readable: Callable[[], None], close: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._readable = readable
        self._close = close
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "process"

    def doRead(self) -> None:
        self._readable()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw a hang-up and nothing to read; reading tells the same as an end of file."""
        if self._descriptor != -1:
            self._readable()

    def pause(self) -> None:
        """Leave the reactor for now."""
        if self._descriptor != -1:
            self._reactor.removeReader(self)

    def resume(self) -> None:
        """Come back to it."""
        if self._descriptor != -1:
            self._reactor.addReader(self)

    def close(self) -> None:
        """Leave the reactor and close the descriptor. A second call does nothing."""
        if self._descriptor != -1:
            self._reactor.removeReader(self)
            self._close()
            self._descriptor = -1


class Output:
    """One of a command's outputs, read until its end into a sink."""

    def __init__(self, reactor: Reactor, pipe: IO[bytes], sink: Sink, closed: Callable[[], None]) -> None:
        """:param closed: called when the other end has been closed"""
        self.is_open = True
        self._clock = reactor
        self._sink = sink
        self._closed = closed
        self._burst = 0
        self._burst_ends = 0.0
        self._pause: DelayedCall | None = None
        os.set_blocking(pipe.fileno(), False)
        with suppress(OSError):  # the user has too many of them
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        self._reader = Reader(reactor, pipe.fileno(), self._readable, pipe.close)

    def finish(self) -> None:
        """Take what is there, and close."""
        size = 0
        while self.is_open and size < PIPE_SIZE:
            read = self._read()
            if not read:  # the end, or nothing there
                break
            size += read
        self._close()

    def _readable(self) -> None:
        size = 0
        for _ in range(_READS):
            read = self._read()
            if read == 0:
                self._close()
                self._closed()
                return
            size += read or 0
            if read != _READ_SIZE:  # no more is there
                break
        self._slow_down(size)

    def _slow_down(self, size: int) -> None:
        now = self._clock.seconds()
        if now >= self._burst_ends:
            self._burst, self._burst_ends = 0, now + PAUSE
        self._burst += size
        if self._burst >= BURST or self._sink.is_full:
            self._reader.pause()
            self._pause = self._clock.callLater(PAUSE, self._go_on)

    def _go_on(self) -> None:
        if self._sink.is_full:
            self._pause = self._clock.callLater(PAUSE, self._go_on)
        else:
            self._pause = None
            self._reader.resume()

    def _read(self) -> int | None:
        """Read a piece; 0 at the end, None where nothing is there yet."""
        try:
            data = os.read(self._reader.fileno(), _READ_SIZE)
        except OSError as error:
            return None if error.errno in {errno.EAGAIN, errno.EINTR} else 0
        self._sink.add(data)
        return len(data)

    def _close(self) -> None:
        self.is_open = False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._reader.close()
