"""A job's output on its way from the pipes to the disk.

Bytes wait in memory until a piece is full, or the job's pace makes it time, and are then written together, off the
reactor's thread. When more waits than the disk keeps up with, the recording is full, and whoever reads the pipes
pauses. What is kept of the output, and where, is not known here.
"""

from collections.abc import Callable
from functools import partial

from attrs import frozen
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from pushy_agent.background import background
from pushy_agent.clock import Clock, DelayedCall
from pushy_agent.output_spool import OutputFiles
from pushy_agent.spool import InThread
from pushy_agent.stream import CHANNELS
from pushy_protocol.messages import CHUNK_BYTES, Channel

MAX_WAITING = 1024 * 1024
"""Bytes that wait for the disk before the command has to wait too."""


class Recording:
    """Both channels of one job."""

    log = Logger()

    def __init__(
        self,
        job_id: str,
        files: OutputFiles,
        *,
        clock: Clock,
        in_thread: InThread,
        pace: float,
        written: Callable[[], None],
    ) -> None:
        """:param pace: seconds between two writes of less than a full piece
        :param written: called whenever something has been
        """
        self._job_id = job_id
        self._files = files
        self._clock = clock
        self._in_thread = in_thread
        self._pace = pace
        self._written = written
        self._waiting: dict[Channel, list[bytes]] = {name: [] for name in CHANNELS}
        self._size = 0
        self._next = clock.seconds()
        self._timer: DelayedCall | None = None
        self._turn = DeferredLock()
        self._has_complained = False
        self._is_closed = False

    @property
    def sinks(self) -> "tuple[Sink, Sink]":
        """Where what comes from stdout and stderr goes."""
        stdout, stderr = (Sink(self, name) for name in CHANNELS)
        return stdout, stderr

    @property
    def is_full(self) -> bool:
        """Whether the disk has to catch up first."""
        return self._size >= MAX_WAITING

    def add(self, channel: Channel, data: bytes) -> None:
        """Take the next bytes of a channel; however full it is."""
        if self._is_closed:
            return
        self._waiting[channel].append(data)
        self._size += len(data)
        if not self._turn.locked:
            self._plan()

    async def finish(self) -> None:
        """Nothing follows; what waits is written, and all of it is on disk."""
        self._stop_timer()
        await self._write(self._files.finish)

    def close(self) -> None:
        """Take nothing any more; nobody wants it."""
        self._is_closed = True
        self._stop_timer()

    def _plan(self) -> None:
        now = self._clock.seconds()
        if self._size >= CHUNK_BYTES or now >= self._next:
            self._begin()
        elif self._timer is None:
            self._timer = self._clock.callLater(self._next - now, self._begin)

    def _begin(self) -> None:
        self._stop_timer()
        background(self._write(), self.log, "An output was not written")

    async def _write(self, then: Callable[[], None] | None = None) -> None:
        await self._turn.acquire()
        try:
            waiting, self._waiting = self._waiting, {name: [] for name in CHANNELS}
            size, self._size = self._size, 0
            self._next = self._clock.seconds() + self._pace
            if size:
                await self._in_thread(partial(self._files.write, waiting))
            if then is not None:
                await self._in_thread(then)
        finally:
            self._turn.release()
        self._complain()
        self._written()
        if self._size and not self._turn.locked and not self._is_closed:
            self._plan()

    def _complain(self) -> None:
        if (trouble := self._files.trouble) and not self._has_complained:
            self._has_complained = True
            self.log.error(
                "Of the output of job {job_id} only a part is kept: {trouble}; the job goes on",
                job_id=self._job_id,
                trouble=trouble,
            )

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


@frozen
class Sink:
    """One channel of a recording."""

    _recording: Recording
    _channel: Channel

    @property
    def is_full(self) -> bool:
        """Whether no more should be read for now."""
        return self._recording.is_full

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self._recording.add(self._channel, data)
