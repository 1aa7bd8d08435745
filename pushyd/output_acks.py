"""Nodes that send output, and how they are told how far their streams are stored: some times a second, of much at once.

What is held of a stream, and when it is stored, is :mod:`outputs`'.
"""

from collections import deque
from collections.abc import Mapping
from typing import Protocol

from attrs import define, field

from pushyd.clock import Clock, DelayedCall
from pushyd.domain.node import NodeRef
from pushyd.store.output_interface import StreamRef

ACK_SECONDS = 0.1
"""Between two acknowledgements to a node."""

ACK_BYTES = 64 * 1024
"""Of which a node is told at once: its window is not much larger."""

AGAIN_SECONDS = 1.0
"""Between two acknowledgements that say nothing new."""


class Acknowledge(Protocol):
    """Tells a node how far its streams of a job are."""

    def __call__(self, node: NodeRef, job_id: str, offsets: Mapping[str, int]) -> None: ...


@define(eq=False)
class Stream:
    """A stream, and what of it is held."""

    ref: StreamRef
    talker: "Talker"
    pieces: deque[tuple[int, bytes]] = field(factory=deque)
    end: int | None = None
    """Where the next piece has to begin; None: that is not known here."""
    stored: int | None = None
    told: int | None = None
    missed: bool = False
    """Something was not taken since it was told how far the stream is."""


@define(eq=False)
class Talker:
    """A node that sends output."""

    node: NodeRef
    streams: dict[tuple[str, str], Stream] = field(factory=dict)
    owed: dict[Stream, None] = field(factory=dict)
    """Of which streams it has to be told how far they are."""
    held: int = 0
    heard_at: float = 0.0
    told_at: float = 0.0

    @property
    def untold(self) -> int:
        """Bytes that are stored, and it does not know."""
        return sum(max(0, (stream.stored or 0) - (stream.told or 0)) for stream in self.owed)


class Acks:
    """What nodes have to be told."""

    def __init__(self, acknowledge: Acknowledge, clock: Clock) -> None:
        self._acknowledge = acknowledge
        self._clock = clock
        self._owing: dict[NodeRef, Talker] = {}
        self._timer: DelayedCall | None = None

    def stop(self) -> None:
        """Tell nothing any more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def owe(self, stream: Stream) -> None:
        """Tell the node how far the stream is, when it is time.

        To say so again, and nothing new, is to ask for what was not taken: so whoever missed something after it was
        stored hears it twice.
        """
        if stream.stored is None:
            return  # nobody knows; it will ask by sending it again
        talker = stream.talker
        talker.owed[stream] = None
        self._owing[talker.node] = talker
        if self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(ACK_SECONDS, self.send)

    def send(self) -> None:
        """Tell those of whom it is the time."""
        now = self._clock.seconds()
        for node, talker in list(self._owing.items()):
            has_news = any(stream.stored != stream.told for stream in talker.owed)
            is_due = now >= talker.told_at + (ACK_SECONDS if has_news else AGAIN_SECONDS)
            if not is_due and talker.untold < ACK_BYTES:
                continue
            talker.told_at = now
            del self._owing[node]
            owed, talker.owed = talker.owed, {}
            missed = [stream for stream in owed if stream.missed and stream.stored != stream.told]
            by_job: dict[str, dict[str, int]] = {}
            for stream in owed:
                assert stream.stored is not None
                stream.told, stream.missed = stream.stored, False
                by_job.setdefault(stream.ref.job_id, {})[stream.ref.channel] = stream.stored
            for job_id, offsets in by_job.items():
                self._acknowledge(node, job_id, offsets)
            for stream in missed:
                self.owe(stream)
        if self._owing and (self._timer is None or not self._timer.active()):
            self._timer = self._clock.callLater(ACK_SECONDS, self.send)
