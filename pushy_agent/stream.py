"""How a job's output travels: what of it has been sent and stored, and how much may be on its way. Pure.

A :class:`Flow` knows offsets only, of both channels of one job: how far their kept streams reach by now, how far they
were sent over this connection, and how far the server has stored them. It goes back to what is stored when the
connection is another, when an acknowledgement shows a hole, and when none comes. A :class:`Window` bounds what is on
its way so that it takes about a second to arrive: a heartbeat waits behind it in the same queue.

Times are seconds of a monotonic clock and come with the calls. Where the bytes are, and how they are sent, is not
known here.
"""

from collections import deque
from collections.abc import Mapping

from attrs import define, field, frozen

from pushy_protocol.messages import CHUNK_BYTES, Channel

CHANNELS: tuple[Channel, ...] = ("stdout", "stderr")

LIVE_PACE = 0.1
"""Seconds between two pieces that are not full, of a job that is followed as it runs.

None is sent while another piece of its channel is on its way. So where the server falls behind its agents send more at
once and less often, and the same output costs it less.
"""

PACE = 1.0
"""The same of any other job."""

PATIENCE = 5.0
"""Seconds without any progress after which what is on its way counts as lost; twice as long after each such time.

Where it is known how long pieces take, four times as long as that, but :data:`LEAST_PATIENCE`.
"""

LEAST_PATIENCE = 2.0
LONGEST_PATIENCE = 60.0

# Seconds, beyond the time that pieces take, until the answers to what was sent before are in.
_SETTLING = 0.5

# Seconds, beyond the same, without progress after which a greeting is believed to be one.
_GREETING = 0.2


@frozen
class Piece:
    """Some bytes of a channel's kept stream."""

    channel: Channel
    offset: int
    size: int


class Window:
    """How many bytes may be on their way: more while they are stored quickly, half as many when they are not."""

    SMALLEST = 4 * 1024
    FIRST = 16 * 1024
    LARGEST = 256 * 1024
    """What the server holds for one node."""

    QUICK = 0.5
    SLOW = 1.5

    def __init__(self) -> None:
        self.size = self.FIRST
        self._narrowed = 0.0

    def stored(self, size: int, *, sent: float, now: float, was_full: bool) -> None:
        """So many bytes, sent at that time, are stored; `was_full`: the window was what held others back."""
        if now - sent > self.SLOW:
            # Once for all that was sent before it was narrow.
            if sent >= self._narrowed:
                self._narrow(self.size // 2, now)
        elif now - sent <= self.QUICK and was_full:
            self.size = min(self.LARGEST, self.size + size)

    def lost(self, now: float) -> None:
        """Something of what was on its way is lost."""
        self._narrow(self.size // 2, now)

    def _narrow(self, size: int, now: float) -> None:
        self.size = max(self.SMALLEST, size)
        self._narrowed = now


@define
class _Channel:
    end: int = 0
    sent: int = 0
    stored: int = 0
    resent: int = -1  # how far it had been sent when it was last sent again, and when that was
    resent_at: float = 0.0
    partial_from: float = 0.0
    on_way: "deque[tuple[int, float]]" = field(factory=deque)  # the end of each piece, and when it was sent

    def back(self, now: float) -> None:
        self.resent, self.resent_at = max(self.resent, self.sent), now
        self.sent = self.stored
        self.on_way.clear()


class Flow:
    """The output of one job on its way."""

    def __init__(self, *, pace: float) -> None:
        """:param pace: seconds between two pieces that are not full"""
        self.window = Window()
        self.turn = 0
        """Grows whenever what was sent is to be sent again."""
        self._pace = pace
        self._channels = {name: _Channel() for name in CHANNELS}
        self._finished = False
        self._progress = 0.0
        self._delay: float | None = None  # seconds that pieces take, smoothed
        self._in_vain = 0

    @property
    def is_complete(self) -> bool:
        """Whether all is stored, and nothing will come."""
        return self._finished and all(channel.stored == channel.end for channel in self._channels.values())

    @property
    def on_way(self) -> int:
        """Bytes that were sent and are not known to be stored."""
        return sum(channel.sent - channel.stored for channel in self._channels.values())

    def extend(self, ends: Mapping[Channel, int]) -> None:
        """The streams reach so far now, or farther."""
        for name, end in ends.items():
            channel = self._channels[name]
            channel.end = max(channel.end, end)

    def finish(self) -> None:
        """They do not grow any more."""
        self._finished = True

    def take(self, now: float, chunk: int = CHUNK_BYTES) -> Piece | None:
        """The next piece to be sent now, of at most `chunk` bytes; None where nothing is, or nothing may be.

        It counts as sent.
        """
        # What was sent longest ago is first, so that neither channel waits for a loud other one.
        for name, channel in sorted(self._channels.items(), key=lambda item: _last(item[1])):
            size = min(channel.end - channel.sent, chunk)
            room = self.window.size - self.on_way
            if not size or room < min(size, self.window.size // 2):
                continue
            if size < chunk and not self._finished:
                if now < channel.partial_from or channel.on_way:
                    continue
                channel.partial_from = now + self._pace
            size = min(size, room)
            if not self.on_way:
                self._progress = now
            piece = Piece(name, channel.sent, size)
            channel.sent += size
            channel.on_way.append((channel.sent, now))
            return piece
        return None

    def stored(self, offsets: Mapping[Channel, int], now: float) -> None:
        """The server has stored so much of each of these channels."""
        was_full = self.on_way > self.window.size // 2
        progress = False
        for name, offset in offsets.items():
            progress |= self._stored(self._channels[name], offset, now, was_full=was_full)
        if progress:
            self._progress, self._in_vain = now, 0
        elif any(self._is_hole(self._channels[name], now) for name in offsets):
            self.window.lost(now)
            self.restart(now)

    def _stored(self, channel: _Channel, offset: int, now: float, *, was_full: bool) -> bool:
        before = channel.stored
        # An agent that was restarted is told of more than it has sent.
        channel.stored = min(offset, channel.end)
        channel.sent = max(channel.sent, channel.stored)
        while channel.on_way and channel.on_way[0][0] <= channel.stored:
            end, sent = channel.on_way.popleft()
            self.window.stored(max(0, end - before), sent=sent, now=now, was_full=was_full)
            self._delay = now - sent if self._delay is None else self._delay + (now - sent - self._delay) / 4
        if channel.stored < before:  # the server has lost something
            channel.back(now)
        return channel.stored > before

    def _is_hole(self, channel: _Channel, now: float) -> bool:
        """Whether an acknowledgement that says nothing new means that something after it was not taken.

        It may also be the answer to something that was sent twice: until what was never sent before is stored, or for
        some time.
        """
        settled = now - channel.resent_at > 2 * (self._delay or 0.0) + _SETTLING
        return channel.sent > channel.stored and (channel.stored > channel.resent or settled)

    def greeted(self, now: float) -> None:
        """The server has said something that it says to a new connection, and at other times too."""
        if self.on_way and now - self._progress > (self._delay or 0.0) + _GREETING:
            self.restart(now)

    def restart(self, now: float) -> None:
        """What was on its way is lost: go on from what is stored."""
        self.turn += 1
        for channel in self._channels.values():
            channel.back(now)

    def check(self, now: float) -> None:
        """See whether what is on its way has been there for too long."""
        if self.on_way and now - self._progress >= self._patience:
            self._in_vain += 1
            self.window.lost(now)
            self.restart(now)

    @property
    def _patience(self) -> float:
        patience = PATIENCE if self._delay is None else max(4 * self._delay, LEAST_PATIENCE)
        return min(patience * 2.0**self._in_vain, LONGEST_PATIENCE)

    def due(self, now: float) -> float | None:
        """Seconds until a piece that is not full may be sent; None where none waits for that alone."""
        waiting = [channel for channel in self._channels.values() if channel.end > channel.sent]
        return min((each.partial_from - now for each in waiting if each.partial_from > now), default=None)


def _last(channel: _Channel) -> float:
    return channel.on_way[-1][1] if channel.on_way else float("-inf")
