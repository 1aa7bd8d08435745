"""The outputs of jobs on their way to the server: from the command to the disk, and from there in pieces.

What may be sent when is a :class:`pushy_agent.stream.Flow`'s to say, what is kept the disk's (:mod:`output_spool`). An
output goes on after its job, and after a restart of the agent, until all of it is stored; the result waits for it
(:meth:`Streams.holds`), but not for ever. To a server that does not take outputs by themselves nothing is sent here.
"""

from collections.abc import Callable, Mapping
from functools import partial

from attrs import define
from twisted.logger import Logger

from pushy_agent.background import background
from pushy_agent.clock import Clock, DelayedCall
from pushy_agent.order import Order
from pushy_agent.output import Captured
from pushy_agent.output_spool import OutputFiles, OutputSpool
from pushy_agent.recording import Recording, Sink
from pushy_agent.speaker import Speaker
from pushy_agent.spool import MAX_WAITING, InThread
from pushy_agent.stream import LIVE_PACE, PACE, Flow, Piece
from pushy_protocol.messages import CHUNK_BYTES, Channel, Output, OutputTotal

HOLD = 30.0
"""Seconds of being connected for which a result waits until its output is stored."""

_LONGEST_BEAT = 5.0
# Pieces that are read from the disk at a time.
_BATCH = 8


@define(eq=False)
class _Stream:
    """The output of a job."""

    job_id: str
    files: OutputFiles
    flow: Flow
    recording: Recording | None = None
    totals: Mapping[Channel, OutputTotal] | None = None
    held: float = 0.0
    is_sending: bool = False
    timer: DelayedCall | None = None


class Streams:
    """All outputs that the server has not stored to their end."""

    log = Logger()

    def __init__(self, *, clock: Clock, speaker: Speaker, spool: OutputSpool, in_thread: InThread) -> None:
        self._clock = clock
        self._speaker = speaker
        self._spool = spool
        self._in_thread = in_thread
        self._streams: dict[str, _Stream] = {}
        self._beaten = clock.seconds()
        self.settled: Callable[[], object] = lambda: None
        """Called when an output holds its job's result no more."""

    # Life

    def open(self) -> None:
        """Take up what an earlier run left.

        :raise OSError: it cannot be read.
        """
        for job_id, files in self._spool.open().items():
            stream = self._streams[job_id] = _Stream(job_id, files, Flow(pace=PACE), totals=files.totals)
            stream.flow.extend(files.sizes)
            stream.flow.finish()

    def stop(self) -> None:
        """Send no more; what is kept stays for the next run."""
        for stream in self._streams.values():
            _cancel(stream)

    # Jobs

    def begin(self, order: Order) -> tuple[Sink, Sink]:
        """Where the output of a job that is about to start goes."""
        pace = LIVE_PACE if order.live else PACE
        files = self._spool.files(order.job_id, order.capture_limit)
        stream = self._streams[order.job_id] = _Stream(order.job_id, files, Flow(pace=pace))
        recording = stream.recording = Recording(
            order.job_id,
            files,
            clock=self._clock,
            in_thread=self._in_thread,
            pace=pace,
            written=partial(self._written, stream),
        )
        return recording.sinks

    def drop(self, job_id: str) -> None:
        """Nobody wants the output of a job; where there is none, nothing happens."""
        if stream := self._streams.pop(job_id, None):
            _cancel(stream)
            background(self._remove(stream), self.log, "An output was not deleted")

    async def finish(self, job_id: str) -> Mapping[Channel, OutputTotal] | None:
        """The job is over and all that came of its output kept; how much that is. None where it has none of its own."""
        stream = self._streams.get(job_id)
        if stream is None:
            return None
        if stream.recording is not None:
            await stream.recording.finish()
            stream.recording = None
            stream.totals = stream.files.totals
            stream.flow.finish()
            self._send(stream)
            self._limit()
        return stream.totals

    def totals(self, job_id: str) -> Mapping[Channel, OutputTotal] | None:
        """How long the output of a job is, when it is over and not all of it stored."""
        stream = self._streams.get(job_id)
        return stream.totals if stream else None

    def captured(self, job_id: str) -> tuple[Captured, Captured] | None:
        """The output of a job that is over, as much as a message can hold, for a server that takes no pieces."""
        stream = self._streams.get(job_id)
        if stream is None or stream.totals is None:
            return None
        try:
            return stream.files.captured(self._speaker.max_body_size)
        except OSError as error:
            self._lose(stream, error)
            return None

    # Results

    def holds(self, job_id: str) -> bool:
        """Whether the result of a job should wait until more of its output is stored."""
        stream = self._streams.get(job_id)
        return stream is not None and stream.totals is not None and stream.held < HOLD and self._is_taken

    def hurry(self, job_id: str | None) -> None:
        """Have no result wait any longer, or not that of this job."""
        for stream in self._streams.values():
            if job_id in {None, stream.job_id} and stream.totals is not None:
                stream.held = HOLD

    # The connection

    def restart(self) -> None:
        """What was on its way is lost: the connection is another."""
        for stream in list(self._streams.values()):
            stream.flow.restart(self._clock.seconds())
            self._send(stream)

    def greeted(self) -> None:
        """The server may have noticed a new connection."""
        for stream in list(self._streams.values()):
            stream.flow.greeted(self._clock.seconds())
            self._send(stream)

    def beat(self) -> None:
        """Time passes, and the server is there."""
        now = self._clock.seconds()
        passed, self._beaten = min(now - self._beaten, _LONGEST_BEAT), now
        for stream in list(self._streams.values()):
            if stream.totals is not None:
                stream.held += passed
            stream.flow.check(now)
            self._send(stream)

    def stored(self, job_id: str, offsets: Mapping[Channel, int]) -> None:
        """The server has stored so much of a job's output."""
        if stream := self._streams.get(job_id):
            stream.flow.stored(offsets, self._clock.seconds())
            self._send(stream)

    # Within

    @property
    def _is_taken(self) -> bool:
        return self._speaker.offers("output")

    def _written(self, stream: _Stream) -> None:
        stream.flow.extend(stream.files.sizes)
        self._send(stream)

    def _send(self, stream: _Stream) -> None:
        if stream.flow.is_complete:
            self.drop(stream.job_id)
            self.settled()
        elif self._is_taken and not stream.is_sending and stream.job_id in self._streams:
            stream.is_sending = True
            background(self._send_all(stream), self.log, "An output was not sent")

    async def _send_all(self, stream: _Stream) -> None:
        """Send what the flow lets go, as far as the connection takes it."""
        try:
            while self._is_taken and (pieces := self._take(stream)):
                turn = stream.flow.turn
                data = await self._in_thread(partial(stream.files.read, pieces))
                if stream.flow.turn == turn and not self._transmit(stream, pieces, data):
                    # Nor is what was sent before on a connection that stands.
                    stream.flow.restart(self._clock.seconds())
                    return
        except OSError as error:
            self._lose(stream, error)
        finally:
            stream.is_sending = False
        self._wait(stream)

    def _take(self, stream: _Stream) -> list[Piece]:
        chunk = self._chunk(stream.job_id)
        pieces: list[Piece] = []
        while len(pieces) < _BATCH and (piece := stream.flow.take(self._clock.seconds(), chunk)):
            pieces.append(piece)
        return pieces

    def _transmit(self, stream: _Stream, pieces: list[Piece], data: list[bytes]) -> bool:
        return all(
            self._speaker.say(
                partial(Output, job_id=stream.job_id, channel=piece.channel, offset=piece.offset, data=found)
            )
            for piece, found in zip(pieces, data, strict=True)
        )

    def _chunk(self, job_id: str) -> int:
        """How many bytes of output fit into a message."""
        empty = partial(Output, job_id=job_id, channel="stdout", offset=2**63 - 1, data=b"")
        # A byte for each figure that the sequence may grow by.
        room = self._speaker.max_body_size - self._speaker.size(empty) - 16
        return max(1, min(CHUNK_BYTES, room // 4 * 3))

    def _wait(self, stream: _Stream) -> None:
        _cancel(stream)
        due = stream.flow.due(self._clock.seconds())
        if due is not None and stream.job_id in self._streams:
            stream.timer = self._clock.callLater(due, self._send, stream)

    def _lose(self, stream: _Stream, error: OSError) -> None:
        self.log.error("The output of job {job_id} is lost: {error}", job_id=stream.job_id, error=error)
        self.drop(stream.job_id)
        self.settled()

    def _limit(self) -> None:
        over = [stream for stream in self._streams.values() if stream.totals is not None]
        for stream in over[:-MAX_WAITING]:
            self.log.error("The output of job {job_id} is given up: nobody takes it", job_id=stream.job_id)
            self.drop(stream.job_id)

    async def _remove(self, stream: _Stream) -> None:
        if stream.recording is not None:
            stream.recording.close()
        await self._in_thread(stream.files.remove)


def _cancel(stream: _Stream) -> None:
    if stream.timer is not None and stream.timer.active():
        stream.timer.cancel()
    stream.timer = None
